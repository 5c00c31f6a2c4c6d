"""A flat index of given vectors, and queries that are given vectors."""

from pathlib import Path

import numpy as np

from lrcr.config.retrieval import SearchParams
from lrcr.features.store import Descriptors
from lrcr.retrieval.flat.engine import FlatSearch
from lrcr.retrieval.flat.index import FlatIndex
from lrcr.storage.artifacts import Manifest


def flat_search(vectors: np.ndarray) -> FlatSearch:
    index = FlatIndex(Path("drawn"), Manifest("index", {}, {}), vectors.astype(np.float32))
    return FlatSearch(index, None, False, SearchParams())


def as_queries(vectors: np.ndarray) -> Descriptors:
    """One row for each query."""
    ones = np.ones(len(vectors), np.float32)
    xy = np.zeros((len(vectors), 2), np.float32)
    return Descriptors(vectors.astype(np.float32), ones, xy, ones, np.arange(len(vectors) + 1))


def unit_vectors(seed: object, count: int, dim: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dim)) + 0.5
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
