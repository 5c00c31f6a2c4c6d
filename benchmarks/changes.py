"""Changes of a large index: adding, removing, compacting, merging two halves, and queries during an addition.

Each step changes a copy of the index of the step before, whose files are links to the same files. What a step measured
is stored, so that a run that was killed goes on with the step at which it was.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numba
import numpy as np
import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.memory import watch_memory
from benchmarks.postings import draw_images
from benchmarks.values import Value
from lrcr.config.reading import load_params
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
from lrcr.retrieval.asmk.index import open_index
from lrcr.retrieval.asmk.speed import draw_queries
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.build import complete_index
from lrcr.retrieval.collection import merge_indexes
from lrcr.retrieval.images import typed
from lrcr.retrieval.writer import open_writer
from lrcr.storage.artifacts import Manifest, read_json, staged_folder, write_json

_PER_IMAGE, _WORDS, _DIM, _SKEW = 395, 65536, 128, 0.5
_PART = 10_000
_QUERIES, _QUERY_WORDS = 20, 1700

Measured = dict[str, float]


def run(images: int) -> Iterator[Value]:
    """Postings are random, as in the benchmark `million`; a hundredth of the images is added, and as many removed."""
    folder = cache_folder(f"changes-{images}")
    if not (folder / "codebook").exists():
        _make_source(folder)
    for step in (_build, _add, _search, _remove, _compact, _merge):
        name = step.__name__.removeprefix("_")
        record = folder / f"{name}.json"
        if not record.exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            with watch_memory() as memory:
                found = step(folder, images)
            write_json(record, {**found, f"{name}: anonymous memory, GiB": max(memory) / 2**30})
        yield from (_value(key, value) for key, value in read_json(record).items())
    shutil.rmtree(folder)


def _value(name: str, value: float) -> Value:
    most = 8 if "memory" in name else 1.3 if "during" in name else None
    return Value(name, value, at_most=most)


def _build(folder: Path, images: int) -> Measured:
    return {"build: time with drawing, s": _seconds(lambda: _make_index(folder, "build", 0, images))}


def _add(folder: Path, images: int) -> Measured:
    index = _link(folder, "build", "add")
    parts = list(draw(images, images // 100))
    seconds = _seconds(lambda: add(index, images, parts))
    return {"add: s": seconds, "add: bytes on disk, GB": _bytes(index)}


def _search(folder: Path, images: int) -> Measured:
    """The time of a query on one thread, alone and while another process adds images to the index on one thread."""
    index = _link(folder, "add", "search")
    numba.set_num_threads(1)
    opened = open_index(index)
    queries = [draw_queries(opened, 1, _QUERY_WORDS, np.random.default_rng(query)) for query in range(_QUERIES)]

    def search() -> list[float]:
        return [_seconds(partial(opened.search, query, alpha=3.0, tau=0.0, idf=False, top=100)) for query in queries]

    search()
    alone = search()
    command = [sys.executable, "-m", "benchmarks.adding", str(index), str(images // 100)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as adding:
        assert adding.stdout is not None and adding.stdout.readline(), "the process that adds has failed"
        meanwhile = search()
        assert adding.poll() is None, "the process that adds has ended"
        adding.kill()
    alone += search()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    return {
        "search: a query on one thread, ms": median(alone) * 1e3,
        "search: a query on one thread during an addition, as a multiple": median(meanwhile) / median(alone),
    }


def _remove(folder: Path, images: int) -> Measured:
    index = _link(folder, "add", "remove")
    with open_writer(index) as writer:
        names = writer.images["name"].tolist()[::100]

        def remove() -> None:
            writer.remove(names)
            writer.commit()

        return {"remove: s": _seconds(remove), "remove: bytes on disk, GB": _bytes(index)}


def _compact(folder: Path, images: int) -> Measured:
    index = _link(folder, "remove", "compact")
    with open_writer(index) as writer:

        def compact() -> None:
            writer.compact()
            writer.commit()

        return {"compact: s": _seconds(compact), "compact: bytes on disk, GB": _bytes(index)}


def _merge(folder: Path, images: int) -> Measured:
    for done in ("build", "add", "search", "remove", "compact"):
        shutil.rmtree(folder / done, ignore_errors=True)
    for name, first in (("one", 0), ("other", images // 2)):
        shutil.rmtree(folder / name, ignore_errors=True)
        _make_index(folder, name, first, images // 2)
    seconds = _seconds(lambda: merge_indexes(folder / "one", folder / "other", folder / "merge"))
    return {"merge: s": seconds, "merge: bytes on disk, GB": _bytes(folder / "merge")}


def add(index: Path, first: int, parts: list[Aggregated]) -> None:
    """Add images to an index, numbered from `first`."""
    with open_writer(index) as writer:
        writer.add(_tabulate(first, sum(part.count for part in parts)), parts)
        writer.commit()


def draw(first: int, images: int) -> Iterator[Aggregated]:
    """The postings of some images."""
    for start in range(first, first + images, _PART):
        count = min(_PART, first + images - start)
        yield draw_images(np.random.default_rng(start), count, _PER_IMAGE, _WORDS, _DIM, skew=_SKEW)


def _tabulate(first: int, images: int) -> pd.DataFrame:
    names = [f"{number:08}.jpg" for number in range(first, first + images)]
    rows = {"name": names, "path": names, "sha256": names, "width": 4, "height": 3, "root": 0}
    return typed(pd.DataFrame({"image": range(images), **rows}))


def _make_source(folder: Path) -> None:
    """A codebook, and a file in the place of the model."""
    (folder / "model").write_bytes(b"weights")
    with staged_folder(folder / "codebook") as staged:
        centroids = np.random.default_rng(0).normal(size=(_WORDS, _DIM)).astype(np.float32)
        save_codebook(staged, Codebook(centroids), Manifest("codebook", {}, {}))


def _make_index(folder: Path, name: str, first: int, images: int) -> None:
    params = load_params(overrides=["index.pack_ids=true", "index.memory_gib=4.0"])
    backend, inputs = backend_of(params, folder / "codebook"), {"model": "m", "codebook": "c", "dataset": name}
    with staged_folder(folder / name) as staged:
        backend.build(draw(first, images), images, lambda most, rng: np.empty((0, _DIM)), staged, inputs)
        table = _tabulate(first, images)
        complete_index(staged, params, folder / "model", folder / "codebook", table, Path("/photos"))


def _link(folder: Path, source: str, target: str) -> Path:
    """A copy of an index whose files are links: a writer changes no file of an index."""
    shutil.copytree(folder / source, folder / target, copy_function=os.link, ignore=shutil.ignore_patterns(".lock"))
    return folder / target


def _bytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
