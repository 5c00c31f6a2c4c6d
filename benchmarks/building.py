"""Aggregation and index building compared with `asmk`, from quantised descriptors of 1,000 images."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import peers
from benchmarks.timing import ratio
from benchmarks.values import Value
from lrcr.retrieval.asmk.aggregation import aggregate
from lrcr.retrieval.asmk.index import build_index
from lrcr.retrieval.asmk.segments import Layout

_WORDS, _DIM, _IMAGES, _DESCRIPTORS = 65536, 128, 1000, 1000
Array = npt.NDArray[Any]


def run() -> Iterator[Value]:
    """Time both implementations on the same descriptors, words and centroids."""
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(_WORDS, _DIM)).astype(np.float32)
    descriptors = rng.normal(size=(_IMAGES * _DESCRIPTORS, _DIM)).astype(np.float32)
    offsets = np.arange(_IMAGES + 1) * _DESCRIPTORS
    kernel = peers.kernel(centroids)
    for assignment, target in ((1, 50), (5, 100)):
        words = _draw_words(rng, assignment)
        some = 20  # images for the slower implementation

        def theirs(words: Array = words, some: int = some) -> None:
            for first in range(0, some * _DESCRIPTORS, _DESCRIPTORS):
                own = slice(first, first + _DESCRIPTORS)
                kernel.aggregate_image(descriptors[own], words[own])

        def ours(words: Array = words) -> None:
            aggregate(descriptors, words, offsets, centroids, binary=True)

        name = "single" if assignment == 1 else "five-fold"
        times = ratio(theirs, ours, rounds=3, fast_repeats=3) * _IMAGES / some
        yield Value(f"aggregation, {name} assignment: speed relative to asmk", times, at_least=target)
    words = _draw_words(rng, 1)
    some = 200

    def build_theirs() -> None:
        rows = slice(some * _DESCRIPTORS)
        owners = np.repeat(np.arange(some), _DESCRIPTORS)
        peers.empty_inverted_file(_WORDS).add(*kernel.aggregate(descriptors[rows], words[rows], owners))

    with tempfile.TemporaryDirectory() as folder:

        def build_ours() -> None:
            postings = aggregate(descriptors, words, offsets, centroids, binary=True)
            layout = Layout(_WORDS, _DIM, True)
            build_index(Path(folder), [postings], layout, params={}, inputs={})

        times = ratio(build_theirs, build_ours, rounds=3, fast_repeats=3) * _IMAGES / some
    yield Value("index of 1,000 images from quantised descriptors: speed relative to asmk", times, at_least=30)


def _draw_words(rng: np.random.Generator, assignment: int) -> Array:
    """Different words for each descriptor, of shape (descriptors, assignment).

    By first assignment an image has about 690 different words.
    """
    own = rng.integers(0, 1250, (_IMAGES, _DESCRIPTORS)) * 52 + rng.integers(0, _WORDS, (_IMAGES, 1))
    return ((own.reshape(-1, 1) + np.arange(assignment) * (_WORDS // 8)) % _WORDS).astype(np.int32)
