"""Merging the rankings of the shards of an index."""

from collections.abc import Sequence

import numpy as np

from lrcr.data.ranking import Ranking


def merge_rankings(rankings: Sequence[Ranking], top: int | None) -> Ranking:
    """The ranking of all images: by descending score, ties by image id, which in a live index is the order of names.

    Args:
        rankings: of the same queries, over different images; each complete, or of `top` images.
        top: images for each query; None: all.
    """
    query, image, score = (
        np.concatenate([getattr(ranking, name) for ranking in rankings]) for name in ("query", "image", "score")
    )
    order = np.lexsort((image, -score, query))
    if top is not None:
        ascending = query[order]
        order = order[np.arange(len(order)) - np.searchsorted(ascending, ascending) < top]
    return Ranking(query[order], image[order], score[order])
