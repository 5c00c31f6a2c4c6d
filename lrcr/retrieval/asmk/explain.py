"""Explanation of a score: the words that query and image share, their descriptors there, and what each contributes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.images import aggregate_assigned

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Match:
    """The contribution of one visual word to a score.

    Args:
        word: id of the word.
        similarity: u of the two aggregated residuals, −1 to 1.
        contribution: to the score, which is the sum over all matches.
        query: rows of the query's descriptors that are assigned to the word.
        image: rows of the image's descriptors that are assigned to the word.
    """

    word: int
    similarity: float
    contribution: float
    query: Rows
    image: Rows


@dataclass(frozen=True)
class Side:
    """The descriptors of one image, and the number of words that each is assigned to."""

    image: Descriptors
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
    """The matches between a query and an image by ASMK that contribute to the score, the largest contribution first.

    Args:
        weights: ω of each word, of shape (words,); ones without IDF.
        alpha: exponent of the similarity u: σ(u) = u^alpha for u ≥ tau, else 0.
        tau: similarity below which a match counts 0.
        binary: whether residuals are compared by their signs.

    Raises:
        ArtifactError: the descriptors do not fit the codebook.
    """
    sides = (query, image)
    words = [codebook.assign(side.image.descriptors, side.assignment) for side in sides]
    postings = [
        aggregate_assigned(side.image, assigned, codebook, binary=binary)
        for side, assigned in zip(sides, words, strict=True)
    ]
    shared, in_query, in_image = np.intersect1d(postings[0].words, postings[1].words, return_indices=True)
    u = _compare(postings[0], in_query, postings[1], in_image)
    norm = np.prod([np.sqrt(weights[side.words].sum()) for side in postings])
    terms = np.where(u >= tau, np.maximum(u, 0) ** alpha, 0) * weights[shared]
    return [
        Match(
            word=int(shared[k]),
            similarity=float(u[k]),
            contribution=float(terms[k] / norm),
            query=np.flatnonzero((words[0] == shared[k]).any(axis=1)),
            image=np.flatnonzero((words[1] == shared[k]).any(axis=1)),
        )
        for k in np.argsort(-terms, kind="stable")
        if terms[k] > 0
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
