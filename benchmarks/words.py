"""K-means to 65,536 words of 2.5 million descriptors: an iteration in cells compared with an exact one of faiss.

The descriptors are those of real photos, repeated with noise. Needs `LRCR_TEST_DATA`: a folder with `photos/` and
`weights/`. What a killed run has described is found again.
"""

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, recipe, test_data
from benchmarks.rows import code
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.datasets.make import make_dataset
from lrcr.features.store import open_descriptors
from lrcr.retrieval.asmk.kmeans import draw_words, exact_kmeans, nearest_in_cells, nearest_of_all, shortlist_kmeans
from lrcr.storage.artifacts import fingerprint

_WORDS, _DESCRIPTORS, _NOISE = 65536, 2_500_000, 0.25
_ITERATIONS, _COMPARED = 2, 20_000
_AT_ONCE = 100_000


def run() -> Iterator[Value]:
    """Time two iterations of each, both from the same words; in cells, both search all descriptors."""
    points = repeat_with_noise(_read(), _DESCRIPTORS)
    start = draw_words(points, _WORDS, 0)
    nearest_in_cells(points[:_AT_ONCE], start)  # faiss and the compiled functions are loaded
    seconds, distance = {}, {}
    for name, iterations in (
        ("exact", exact_kmeans(points, start, gpu=False)),
        ("in cells", shortlist_kmeans(points, start, nearest_in_cells)),
    ):
        begin = time.perf_counter()
        for _ in range(_ITERATIONS):
            words = next(iterations)
        seconds[name] = (time.perf_counter() - begin) / _ITERATIONS
        distance[name] = _distance(points[:: len(points) // _COMPARED], words)
        yield Value(f"k-means, {name}: s an iteration, {_WORDS} words, {_DESCRIPTORS} descriptors", seconds[name])
    yield Value("speed of an iteration in cells relative to exact", seconds["exact"] / seconds["in cells"], at_least=5)
    relative = distance["in cells"] / distance["exact"]
    yield Value("mean squared distance after two iterations in cells, relative to exact", relative, at_most=1.02)


def repeat_with_noise(real: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Descriptors drawn from real ones with noise of a quarter of their deviation: of shape (count, D)."""
    rng, points = np.random.default_rng(0), np.empty((count, real.shape[1]), np.float32)
    for first in range(0, count, _AT_ONCE):
        part = real[rng.integers(0, len(real), min(_AT_ONCE, count - first))]
        noise = rng.standard_normal(part.shape, np.float32)
        points[first : first + len(part)] = part + np.float32(_NOISE * real.std()) * noise
    return points


def _read() -> npt.NDArray[np.float32]:
    """The descriptors of the photos."""
    data, work = test_data(), cache_folder(fingerprint(code(), "words"))
    if not (work / "described" / "fit").exists():
        photos = FolderParams(kind="folder", path=str(data / "photos"))
        make_dataset("photos", photos, work / "dataset", seed=0, progress=progress)
        describe(recipe(data), work, "described")
    return open_descriptors(work / "described" / "descriptors" / "database").read().descriptors.astype(np.float32)


def _distance(points: npt.NDArray[np.float32], words: npt.NDArray[np.float32]) -> float:
    """The mean squared distance of descriptors to the nearest word."""
    return float(((points - words[nearest_of_all(points, words)[:, 0]]) ** 2).sum(axis=1).mean())
