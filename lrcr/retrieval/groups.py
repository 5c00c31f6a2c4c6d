"""Groups of images of an index: connected components of the mutual pairs that are similar enough.

Two thresholds serve two tasks: near-identical images (a photo saved again, resized, slightly cropped), and photos of
one place or thing.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.config.rerank import GeometricParams
from lrcr.config.steps import owning
from lrcr.errors import ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.components import connected_components
from lrcr.retrieval.neighbours import Pairs, find_neighbours, mutual_pairs
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.searcher import Searcher

Kind = Literal["duplicates", "cluster"]

COLUMNS = ("group", "image", "score", "inliers", "width", "height", "label", "path")
_MIN_SCORES = {"duplicates": (0.04, 0.75), "cluster": (0.005, 0.4)}  # of ASMK, and of global vectors


def find_groups(
    searcher: Searcher,
    kind: Kind,
    *,
    min_score: float | None = None,
    min_inliers: int = 0,
    neighbours: int = 50,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Find the groups of an index.

    Args:
        searcher: the open index.
        kind: decides the default of `min_score`.
        min_score: similarity that a pair needs; None: the default of the kind.
        min_inliers: matches that must agree on one affine transformation; 0: geometry is not checked.
        neighbours: number of nearest images of each image among which the other of a pair must be, at least 1.
        progress: one step for each image, and for each pair whose geometry is checked.

    Returns:
        A row for each image of a group of two or more, with the columns `COLUMNS`: groups are numbered from 1, the
        largest first; in a group the image with the most pixels comes first. `score` and `inliers` are the highest of
        the image's pairs. Images that are in no group are left out.

    Raises:
        ParamsError: a setting is out of range, or the index owns no local descriptors for `min_inliers`.
        ArtifactError: a file of the index is missing or damaged.
    """
    if neighbours < 1:
        raise ParamsError(f"neighbours: {neighbours} is below 1; compare with at least one image")
    if min_inliers and searcher.local is None:
        remedy = owning(searcher.index.explains)
        raise ParamsError(f"min_inliers: {searcher.folder} owns no local descriptors; {remedy}")
    if min_score is not None and not math.isfinite(min_score):
        raise ParamsError(f"min_score: {min_score} is not a finite number; give for example 0.5")
    least = _MIN_SCORES[kind][0 if searcher.index.explains else 1] if min_score is None else min_score
    images = searcher.index.images
    pairs = mutual_pairs(find_neighbours(searcher.index, neighbours, progress), images, neighbours)
    pairs = pairs.select(pairs.score >= least)
    inliers = np.zeros(len(pairs), np.int64)
    if min_inliers:
        inliers = count_inliers(searcher, pairs, progress)
        pairs, inliers = pairs.select(inliers >= min_inliers), inliers[inliers >= min_inliers]
    return _tabulate(searcher.images, pairs, inliers)


def count_inliers(searcher: Searcher, pairs: Pairs, progress: Progress = SILENT) -> npt.NDArray[np.int64]:
    """The matches of each pair that agree on one affine transformation, of shape (P,).

    The index owns local descriptors.
    """
    local = searcher.local
    assert local is not None
    geometric = Geometric(local, GeometricParams(kind="geometric"))
    ends = zip(pairs.one.tolist(), pairs.other.tolist(), strict=True)
    counts = [
        len(geometric.verify(local.of_image(one), local.of_image(other))[0])
        for one, other in progress.over(ends, "check geometry", len(pairs))
    ]
    return np.array(counts, np.int64)


def _tabulate(images: pd.DataFrame, pairs: Pairs, inliers: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The table of groups, from the pairs that are their edges."""
    root = connected_components(len(images), pairs.one, pairs.other)
    score, most = np.full(len(images), -np.inf, np.float32), np.zeros(len(images), np.int64)
    for end in (pairs.one, pairs.other):
        np.maximum.at(score, end, pairs.score)
        np.maximum.at(most, end, inliers)
    size = np.bincount(root, minlength=len(images))[root]
    table = images[["name", "width", "height", "label", "path", "archive"]].rename(columns={"name": "image"})
    table["path"] = table["path"].where(table["archive"].isna(), table["archive"] + "/" + table["path"])
    table = table.assign(score=score, inliers=most, root=root, size=size, pixels=-table["width"] * table["height"])
    table = table[size > 1].sort_values(["size", "root", "pixels", "image"], ascending=[False, True, True, True])
    table["group"] = (table["root"] != table["root"].shift()).cumsum()
    return table[list(COLUMNS)].reset_index(drop=True)
