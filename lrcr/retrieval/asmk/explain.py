"""Why an image was returned: the words it shares with the query, the descriptors that met there, and their worth."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Match:
    """What one visual word contributed to a score.

    Args:
        word: its id.
        similarity: u of the two aggregated residuals, −1…1.
        contribution: its share of the score; those of all matches add up to it.
        query: rows of the query's descriptors that are in the word.
        image: rows of the image's descriptors that are.
    """

    word: int
    similarity: float
    contribution: float
    query: Rows
    image: Rows


@dataclass(frozen=True)
class Side:
    """Descriptors of one image, of shape (N, D), and to how many words each is assigned."""

    descriptors: npt.NDArray[np.floating[Any]]
    assignment: int


def explain(
    query: Side,
    image: Side,
    codebook: Codebook,
    weights: npt.NDArray[np.float64],
    *,
    alpha: float,
    tau: float,
    binary: bool,
) -> list[Match]:
    """The matches between a query and an image by ASMK, the largest contribution first; those worth nothing left out.

    Args:
        weights: ω of each word; ones without IDF.
        alpha, tau: σ(u) = u^alpha for u ≥ tau, else 0.
        binary: whether residuals are compared by their signs.

    Raises:
        ArtifactError: descriptors that do not fit the codebook.
    """
    words = [codebook.assign(side.descriptors, side.assignment) for side in (query, image)]
    postings = [
        aggregate(side.descriptors, own, np.array([0, len(own)]), codebook.centroids, binary=binary)
        for side, own in zip((query, image), words, strict=True)
    ]
    shared, ours, theirs = np.intersect1d(postings[0].words, postings[1].words, return_indices=True)
    u = _compare(postings[0], ours, postings[1], theirs)
    norm = np.prod([np.sqrt(weights[side.words].sum()) for side in postings])
    worth = np.where(u >= tau, np.maximum(u, 0) ** alpha, 0) * weights[shared]
    return [
        Match(
            word=int(shared[k]),
            similarity=float(u[k]),
            contribution=float(worth[k] / norm),
            query=np.flatnonzero((words[0] == shared[k]).any(axis=1)),
            image=np.flatnonzero((words[1] == shared[k]).any(axis=1)),
        )
        for k in np.argsort(-worth, kind="stable")
        if worth[k] > 0
    ]


def _compare(a: Aggregated, rows_a: Rows, b: Aggregated, rows_b: Rows) -> npt.NDArray[np.float64]:
    """u of pairs of postings, of shape (pairs,)."""
    left, right = a.vectors[rows_a], b.vectors[rows_b]
    if not a.binary:
        products: npt.NDArray[np.float64] = (left.astype(np.float64) * right.astype(np.float64)).sum(axis=1)
        return products
    bits = -(-a.dim // 32) * 32
    distances: npt.NDArray[np.int64] = np.bitwise_count(left ^ right).sum(axis=1, dtype=np.int64)
    return (bits - 2.0 * distances) / bits
