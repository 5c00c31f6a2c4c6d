"""Groups of photos of one thing and of near-identical photos: pairwise precision and recall; time for 100,000 images.

Needs `LRCR_TEST_DATA`: a folder with `photos/` and `more-photos/`. Thresholds are chosen on one half of the identities
of both, as those of the largest F1, and measured on the other half; a photo without a label is a thing of its own. What
a killed run has finished is found again.
"""

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageEnhance

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, test_data
from benchmarks.postings import draw_images
from benchmarks.tables import markdown, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.reading import load_params
from lrcr.config.retrieval import SearchParams
from lrcr.datasets.make import make_dataset
from lrcr.retrieval.asmk.engine import AsmkSearch
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.collection import add_photos
from lrcr.retrieval.components import connected_components
from lrcr.retrieval.groups import count_inliers
from lrcr.retrieval.neighbours import Pairs, find_neighbours, mutual_pairs
from lrcr.retrieval.searcher import Searcher

_SETS = ("photos", "more-photos")
_SIZES = ("extract.image_size=512", "train.image_size=512", "train.epochs=0", "codebook.words=2048")
_NEIGHBOURS = 50
_LOW = 0.002  # smallest similarity that is tried
_SCORES = np.unique([float(f"{score:.2g}") for score in (*np.geomspace(_LOW, 1, 100), *np.linspace(0.2, 1, 81))])
_KINDS = {"local": ("index.local_descriptors=float16",), "gem": ("model.name=gem",), "plain": ()}
"""The params of each index; one without local descriptors can be changed."""

_INLIERS = (0, 10, 20, 30, 40, 50, 60, 80, 100, 120)
_EVERY = 4  # of so many things, one photo of one is altered
_DRAWN, _PART = 100_000, 10_000


@dataclass(frozen=True, eq=False)
class _Compared:
    """The mutual pairs of a collection with the inliers of each, and what its images show.

    Args:
        shows: number of what each image shows, of shape (images,).
        half: which half each image belongs to, 0 or 1, of shape (images,).
    """

    pairs: Pairs
    inliers: npt.NDArray[np.int64]
    shows: npt.NDArray[np.int64]
    half: npt.NDArray[np.int64]


def run() -> Iterator[Value]:
    """Write `results/collections.md`."""
    data, rows = test_data(), []
    local, vectors = ([_compare(data, name, kind) for name in _SETS] for kind in ("local", "gem"))
    for task, compared, inliers in (
        ("one thing, ASMK", local, (0,)),
        ("one thing, ASMK and geometry", local, _INLIERS),
        ("one thing, GeM", vectors, (0,)),
        ("near-identical, ASMK", [_compare_copies(data, "plain")], (0,)),
        ("near-identical, GeM", [_compare_copies(data, "gem")], (0,)),
    ):
        best = max(product(_SCORES, inliers), key=lambda limits: _f1(*_measure(compared, 0, *limits)))
        precision, recall = _measure(compared, 1, *best)
        yield Value(f"{task}: smallest similarity, chosen on half of the identities", float(best[0]))
        yield Value(f"{task}: fewest inliers, chosen likewise", best[1])
        yield Value(f"{task}: pairwise precision on the other half, percent", 100 * precision)
        yield Value(f"{task}: pairwise recall on the other half, percent", 100 * recall)
        rows.append([task, f"{best[0]:g}", f"{best[1]}", f"{100 * precision:.1f}", f"{100 * recall:.1f}"])
    write("collections", markdown(["", "similarity ≥", "inliers ≥", "precision", "recall"], rows))
    yield from measure_time(_DRAWN)


def _compare(data: Path, name: str, kind: str) -> _Compared:
    """The pairs of a folder of photos."""
    searcher = Searcher(_index(data, name, kind))
    pairs = _pairs(searcher)
    inliers = np.zeros(len(pairs), np.int64) if searcher.local is None else count_inliers(searcher, pairs, progress)
    return _Compared(pairs, inliers, *_halves(searcher.images["label"]))


def _compare_copies(data: Path, kind: str) -> _Compared:
    """The pairs of `more-photos/` with altered copies: only copies of one photo show the same."""
    copies = cache_folder("collections") / "copies"
    if not copies.exists():
        _alter(data / "more-photos", copies)
    index = cache_folder("collections") / f"copies-{kind}.index"
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(_index(data, "more-photos", kind), index)
    add_photos(index, [copies], progress=progress)
    searcher = Searcher(index)
    names = searcher.images["name"]
    shows, _ = _halves(names.str.split("#").str[0])
    half = pd.factorize(names.str.split("/").str[0], sort=True)[0] // _EVERY % 2
    pairs = _pairs(searcher)
    return _Compared(pairs, np.zeros(len(pairs), np.int64), shows, half)


def _index(data: Path, name: str, kind: str) -> Path:
    """An index of a folder of photos by the default trunk; only what is missing is computed."""
    params, work = load_params(None, [*_SIZES, *_KINDS[kind]]), cache_folder("collections") / name
    own, index = work / params.model.name, work / f"{kind}.index"
    if not (work / "dataset").exists():
        shutil.rmtree(work, ignore_errors=True)
        (work / "dataset").mkdir(parents=True)
        make_dataset(name, FolderParams(kind="folder", path=str(data / name)), work / "dataset", seed=0)
    if not (own / "fit").exists():
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        describe(params, work, own.name)
    if not (own / "codebook").exists():
        make_codebook(params, own / "fit", own / "codebook", progress)
    if not index.exists():
        model = own / "model.safetensors"
        index_dataset(params, model, work / "dataset", own / "descriptors", own / "codebook", index, progress)
    return index


def _alter(photos: Path, copies: Path) -> None:
    """Write three altered copies of one photo of each identity: saved again, of half the size, and cropped."""
    labels = pd.read_csv(photos / "labels.csv").groupby("label")["image"].first()
    temporary = copies.with_name("copies.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for name in labels.iloc[::_EVERY]:
        with Image.open(photos / "images" / name) as opened:
            photo = opened.convert("RGB")
        width, height = photo.size
        edge = (width // 20, height // 20, width - width // 20, height - height // 20)
        changed = (
            photo,
            photo.resize((width // 2, height // 2)),
            ImageEnhance.Brightness(photo.crop(edge)).enhance(1.2),
        )
        for number, copy in enumerate(changed):
            file = temporary / f"{name}#{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            copy.save(file, quality=(30, 80, 80)[number])
    temporary.rename(copies)


def _pairs(searcher: Searcher) -> Pairs:
    neighbours = find_neighbours(searcher.index, _NEIGHBOURS, progress)
    pairs = mutual_pairs(neighbours, searcher.index.images, _NEIGHBOURS)
    return pairs.select(pairs.score >= _LOW)


def _halves(labels: pd.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The number of what each image shows, and the half of each: every second thing is of the second half."""
    codes, names = pd.factorize(labels, sort=True)
    shows = np.where(codes < 0, len(names) + np.arange(len(codes)), codes)
    return shows, shows % 2


def _measure(compared: Iterable[_Compared], half: int, least: float, inliers: int) -> tuple[float, float]:
    """Pairwise precision and recall of the connected components of the images of one half."""
    right = told = true = 0
    for one in compared:
        own = one.half == half
        kept = (one.pairs.score >= least) & (one.inliers >= inliers) & own[one.pairs.one] & own[one.pairs.other]
        edges = one.pairs.select(kept)
        root = connected_components(len(own), edges.one, edges.other)
        table = pd.DataFrame({"root": root[own], "shows": one.shows[own]})
        right += _pairs_within(table.value_counts())
        told += _pairs_within(table["root"].value_counts())
        true += _pairs_within(table["shows"].value_counts())
    return right / max(1, told), right / max(1, true)


def _pairs_within(sizes: pd.Series) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / max(1e-9, precision + recall)


def measure_time(images: int) -> Iterator[Value]:
    """The search of drawn images of 395 postings for each other, on two threads."""
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    with tempfile.TemporaryDirectory() as folder:
        parts = (
            draw_images(np.random.default_rng(part), _PART, 395, 65536, 128, skew=0.5)
            for part in range(images // _PART)
        )
        build_index(Path(folder), parts, Layout(65536, 128, binary=True), params={}, inputs={})
        index = AsmkSearch(open_index(Path(folder)), None, 1, SearchParams())  # type: ignore[arg-type]
        start = time.perf_counter()
        pairs = mutual_pairs(find_neighbours(index, _NEIGHBOURS), images, _NEIGHBOURS)
        connected_components(images, pairs.one, pairs.other)
        yield Value(f"{images} drawn images, all against all, min", (time.perf_counter() - start) / 60, at_most=30)
