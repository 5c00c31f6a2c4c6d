"""Approximate compared with exact assignment: 65,536 words drawn from the descriptors of real photos.

Needs `LRCR_TEST_DATA`: a folder with `photos/`, `weights/` and `parity/`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.photos import describe, recipe, test_data
from benchmarks.timing import ratio
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.store import open_descriptors
from lrcr.retrieval.asmk.codebook import read_centroids
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook

_WORDS, _TIMED = 65536, 10_000


def run() -> Iterator[Value]:
    """Describe the photos, draw the words, compare both assignments."""
    data = test_data()
    params = recipe(data, f"whitening.file={data / 'parity/how_photos.npz'}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = FolderParams(kind="folder", path=str(data / "photos"))
        make_dataset("photos", photos, work / "dataset", seed=0, progress=progress)
        describe(params, work, "described")
        yield from _compare(params, work)


def _compare(params: Params, work: Path) -> Iterator[Value]:
    rng = np.random.default_rng(0)
    store = open_descriptors(work / "described" / "descriptors" / "database")
    words = work / "words.npz"
    np.savez(words, centroids=store.sample(_WORDS, rng).astype(np.float32))
    points = store.sample(_TIMED, rng).astype(np.float32)
    exact = read_centroids(words)
    approximate = replace(exact, approximate=True)
    for name, count in (("single", 1), ("five-fold", 5)):
        times = ratio(lambda n=count: exact.assign(points, n), lambda n=count: approximate.assign(points, n), rounds=5)
        yield Value(f"approximate assignment, {name}: speed relative to exact", times, at_least=3)
        yield Value(f"approximate assignment, {name}: recall", approximate.recall(points, count))
    with_words = params.model_copy(update={"codebook": params.codebook.model_copy(update={"file": str(words)})})
    found = {kind: _map(with_words, work, kind) for kind in ("exact", "approximate")}
    for setup, value in found["exact"].items():
        yield Value(f"mAP ({setup}), exact", value)
        difference = abs(value - found["approximate"][setup])
        yield Value(f"absolute difference in mAP ({setup}), points", difference, at_most=0.2)


def _map(params: Params, work: Path, kind: str) -> dict[str, float]:
    params = params.model_copy(update={"index": params.index.model_copy(update={"quantisation": kind})})
    descriptors, model = work / "described" / "descriptors", work / "described" / "model.safetensors"
    make_codebook(params, work / "described" / "fit", work / "codebook")
    index_dataset(params, model, work / "dataset", descriptors, work / "codebook", work / kind, progress)
    found = evaluate_dataset(params, work / "dataset", descriptors, work / kind).evaluation.map
    return {setup: value for setup, value in found.items() if value is not None and setup in ("medium", "hard")}
