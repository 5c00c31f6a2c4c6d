"""What a collection holds: near-identical photos, photos of one place or thing, and pairs that are worth matching.

These functions search an index for each of its own images. The commands `lrcr duplicates`, `cluster` and `pairs` call
them.
"""

from typing import TYPE_CHECKING

from lrcr.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from lrcr.retrieval.photos import PhotoIndex


def duplicates(
    index: "PhotoIndex",
    *,
    min_score: float | None = None,
    min_inliers: int = 0,
    neighbours: int = 50,
    progress: Progress = SILENT,
) -> "pd.DataFrame":
    """Find near-identical photos: saved again, resized, or slightly cropped.

    Args:
        index: of `open_index`; its params of search (`alpha`, `tau`, `idf`) apply.
        min_score: similarity that a pair needs; None: a default for this kind of index. ASMK gives 0 to 1, and global
            vectors have cosines.
        min_inliers: matches of a pair that must agree on one affine transformation; 0: geometry is not checked. The
            index must own local descriptors.
        neighbours: number of nearest images of each image among which the other of a pair must be.
        progress: one step for each image.

    Returns:
        A row for each image that has near-identical ones, with the columns `group` (from 1, the largest group first),
        `image`, `score` and `inliers` (the highest of its pairs), `width`, `height`, `label` and `path`. In a group the
        image with the most pixels comes first.

    Raises:
        ParamsError: a setting is out of range, or the index owns no local descriptors for `min_inliers`.
        ArtifactError: a file of the index is missing or damaged.

    Example:
        >>> import lrcr
        >>> index = lrcr.open_index("my.index")
        >>> lrcr.duplicates(index, min_score=0.999).empty
        True
    """
    from lrcr.retrieval.groups import find_groups

    return find_groups(
        index.searcher,
        "duplicates",
        min_score=min_score,
        min_inliers=min_inliers,
        neighbours=neighbours,
        progress=progress,
    )


def cluster(
    index: "PhotoIndex",
    *,
    min_score: float | None = None,
    min_inliers: int = 0,
    neighbours: int = 50,
    progress: Progress = SILENT,
) -> "pd.DataFrame":
    """Find the photos that show the same place or thing.

    Arguments, result and errors are those of `duplicates`; the default of `min_score` is lower. A group is a connected
    component: two of its images need not be similar, if others between them are.

    Example:
        >>> import lrcr
        >>> found = lrcr.cluster(lrcr.open_index("my.index"), min_score=0.0)
        >>> found["group"].nunique(), len(found)
        (1, 12)
    """
    from lrcr.retrieval.groups import find_groups

    return find_groups(
        index.searcher,
        "cluster",
        min_score=min_score,
        min_inliers=min_inliers,
        neighbours=neighbours,
        progress=progress,
    )


def pairs(
    index: "PhotoIndex", top: int = 20, *, queries: "Mapping[str, Path] | None" = None, progress: Progress = SILENT
) -> "pd.DataFrame":
    """Pair images that are worth matching, for structure from motion or localisation.

    Args:
        index: of `open_index`; its params of search (`alpha`, `tau`, `idf`) apply.
        top: number of images for each query; without a visual word in common, images are no pair.
        queries: for localisation, the photos that are looked for, by name; None: each image of the index is looked for
            among the others.
        progress: one step for each image.

    Returns:
        A row for each pair, with the columns `query`, `image` (names) and `score`, best first for each query. A pair
        may occur in both orders.

    Raises:
        ParamsError: `top` is below 1.
        ImageError: a query cannot be decoded.
        ArtifactError: a file of the index is missing or damaged.

    Example:
        >>> import lrcr
        >>> found = lrcr.pairs(lrcr.open_index("my.index"), top=3)
        >>> len(found), found["query"].iloc[0]
        (36, 'castle/00.jpg')
    """
    from lrcr.retrieval.pairs import find_pairs, find_query_pairs

    if queries is None:
        return find_pairs(index.searcher, top, progress)
    return find_query_pairs(index, queries, top, progress)
