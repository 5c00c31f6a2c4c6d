"""Confidence: how rarely a query that has no match in an index finds a score as high as this one.

Of N images one has the best score, whether or not it shows what the query shows. The confidence of a score s is the
probability that the best score of a query without a match is lower: 1 − P(max of N scores ≥ s). So results of at least
0.99 are given to one in a hundred of such queries, however many images the index holds.

The scores of images that show other things have an exponential tail: ASMK's in the logarithm of the score, cosines in
the score itself. With y on this scale,

    P(Y ≥ y) = 0.1 · exp(−(y − b) / β)

where a tenth of the images exceed b, which is the query's own. β belongs to the index: some of its images are searched
in it, and β is the median of the slopes between the scores that 10 % and 3 % of the images exceed. What shows the same
thing stays out of this: the scores above the one that by this law half an image would exceed are left out, and β is
computed again, until it does not change.

A query with few visual words, such as a blank wall, has scores that differ more: where half of its own slope between
30 % and 10 % of the images is larger than β, it is taken instead.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.retrieval.backend import Backend, OpenIndex
from lrcr.storage.artifacts import Manifest

FEWEST = 100  # images; 3 % of fewer are too few scores

_LOW, _BULK, _TAIL = 0.3, 0.1, 0.03  # shares of the images above the scores between which slopes are taken
_STEEPER = 2  # how many times the slope between 30 % and 10 % is, at most, that beyond them; of real photos 1.2 to 1.4
_LEFT_OUT = 0.05  # the largest share of the images that is left out
_ROUNDS = 30
_SCORES, _QUERIES = 2**21, 16  # scores that are computed at most, unless these are too few queries

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """The law of the scores of images that show other things.

    Args:
        slope: β.
        logarithmic: whether the law holds for the logarithm of the score.
    """

    slope: float
    logarithmic: bool

    def confidences(self, ranking: Ranking, queries: int) -> Floats:
        """The confidence of each row of a ranking of all images; 0 if fewer than 30 % have a score above 0.

        Args:
            queries: the number of queries, all of them versions of one photo, each of which can match by accident.
        """
        confidences = [np.empty(0)]
        for query in range(queries):
            scores = _scaled(ranking.of_query(query)[1], logarithmic=self.logarithmic)
            confidences.append(self._of_query(scores, queries))
        return np.concatenate(confidences)

    def _of_query(self, scores: Floats, queries: int) -> Floats:
        """The confidence of each of all scores of a query, best first."""
        if len(scores) < FEWEST:
            return np.zeros(len(scores))
        bulk, left_out = _bulk(scores[None], len(scores), self.slope)
        low = _exceeded(scores[None], len(scores), left_out, _LOW)
        if not np.isfinite(low[0]):
            return np.zeros(len(scores))
        slope = max(self.slope, float(bulk[0] - low[0]) / math.log(_LOW / _BULK) / _STEEPER)
        share = np.minimum(1 - 1e-12, _BULK * np.exp(np.minimum(0, bulk - scores) / slope))
        confidences: Floats = np.exp(queries * len(scores) * np.log1p(-share))
        return confidences


def is_calibrated_for(search: SearchParams) -> bool:
    """Whether the law holds for these settings: those that shape ASMK's similarity have their defaults."""
    usual = SearchParams()
    return (search.alpha, search.tau, search.idf) == (usual.alpha, usual.tau, usual.idf)


def calibrate(backend: Backend[Any], folder: Path, manifest: Manifest, names: Sequence[str]) -> dict[str, float] | None:
    """Calibrate an index with a sample of its own images, which the hashes of their names choose.

    Args:
        folder: of the index.
        manifest: of the index; it need not be written yet.
        names: of the images, in the order in which the index numbers them.

    Returns:
        The fact `confidence` of the manifest; None: there are fewer than `FEWEST` images, or their scores are too few.
    """
    if len(names) < FEWEST:
        return None
    chosen = _choose(names)
    index = backend.open(folder, SearchParams(), manifest)
    stored = chosen if index.order is None else index.order[chosen]
    parts = backend.restore(folder, manifest.facts["segments"], stored)
    slope = fit_slope(_scores(index, parts, chosen), len(names) - 1)
    return None if slope is None else {"slope": slope}


def fit_slope(scores: Floats, images: int) -> float | None:
    """β of queries in an index of which most images show something else; None if it is not a positive number.

    Args:
        scores: the best scores of each query on the scale of the law, best first, of shape (queries, most).
        images: that each query was compared with.
    """
    slope = math.inf
    for _ in range(_ROUNDS):
        bulk, left_out = _bulk(scores, images, slope)
        with np.errstate(invalid="ignore"):
            slopes = (_exceeded(scores, images, left_out, _TAIL) - bulk) / math.log(_BULK / _TAIL)
        slopes = slopes[np.isfinite(slopes)]
        before, slope = slope, float(np.median(slopes)) if len(slopes) else 0.0
        if slope in (0, before):
            break
    return slope or None


def _choose(names: Sequence[str]) -> Ids:
    """The places of the images that are searched."""
    count = min(len(names), max(_QUERIES, _SCORES // len(names)))
    hashes = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names]
    return np.array(sorted(range(len(names)), key=hashes.__getitem__)[:count], np.int64)


def _scores(index: OpenIndex, parts: Iterable[Any], places: Ids) -> Floats:
    """The best quarter of the scores of stored images as queries, without their own, of shape (queries, images // 4).

    Args:
        parts: what the index stores of the images.
        places: of the images in the index.
    """
    rows: list[npt.NDArray[np.float32]] = []
    for part in parts:
        ranking = index.rank(part, None)
        for query in range(len(ranking) // index.images):
            images, scores = ranking.of_query(query)
            rows.append(scores[images != places[len(rows)]][: index.images // 4])
    return _scaled(np.stack(rows), logarithmic=index.logarithmic)


def _scaled(scores: npt.NDArray[np.float32], *, logarithmic: bool) -> Floats:
    wide = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(wide, 0)) if logarithmic else wide


def _bulk(scores: Floats, images: int, slope: float) -> tuple[Floats, Ids]:
    """The score that a tenth of the images exceed, and the number of images that are left out, for each query."""
    left_out = np.zeros(len(scores), np.int64)
    for _ in range(_ROUNDS):
        bulk = _exceeded(scores, images, left_out, _BULK)
        highest = bulk + slope * math.log(2 * _BULK * images)  # half an image exceeds it
        count = np.minimum((scores > highest[:, None]).sum(axis=1), int(_LEFT_OUT * images))
        if np.array_equal(count, left_out):
            break
        left_out = count
    return bulk, left_out


def _exceeded(scores: Floats, images: int, left_out: Ids, share: float) -> Floats:
    """The score of each query that a share of the images exceed that are not left out."""
    place = left_out + share * (images - left_out - 1)
    above, rows = np.floor(place).astype(np.int64), np.arange(len(scores))
    with np.errstate(invalid="ignore"):
        upper, lower = scores[rows, above], scores[rows, above + 1]
        found: Floats = upper + (place - above) * (lower - upper)
    return found
