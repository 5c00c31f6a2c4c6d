"""Steps of pairs that are hard to tell apart: pairs of clusters whose images have high ASMK scores."""

from collections import defaultdict
from itertools import islice

import numpy as np

from lrcr.data.dataset import Ids
from lrcr.data.ranking import Ranking

_NONE = np.empty(0, np.int64)


def similar_clusters(ranking: Ranking, clusters: Ids) -> dict[int, Ids]:
    """The other clusters of each cluster, by the best score between their images if it is above 0, best first.

    Args:
        ranking: of images for each of the same images.
        clusters: of the images, of shape (n,).
    """
    owner, other = clusters[ranking.query], clusters[ranking.image]
    kept = np.flatnonzero((ranking.score > 0) & (owner != other))
    best_first = kept[np.argsort(-ranking.score[kept], kind="stable")]
    pairs = np.stack([owner[best_first], other[best_first]], axis=1)
    pairs = pairs[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]
    by_cluster = pairs[np.argsort(pairs[:, 0], kind="stable")]
    names, starts = np.unique(by_cluster[:, 0], return_index=True)
    return dict(zip(names.tolist(), np.split(by_cluster[:, 1], starts[1:]), strict=True)) if len(names) else {}


def group_pairs(pairs: Ids, clusters: Ids, similar: dict[int, Ids], size: int, group: int) -> Ids:
    """Order pairs so that every second step consists of groups: a pair, and pairs of the clusters most similar to its.

    The other steps keep the given order, as do groups for which too few similar clusters have pairs left.

    Args:
        pairs: image ids of shape (T, 2), in random order.
        clusters: of all images, of shape (n,).
        similar: from `similar_clusters`; clusters without an entry have no similar ones.
        size: pairs of a step.
        group: pairs of a group, ≤ size.

    Returns:
        The same pairs, of shape (T, 2).
    """
    owner = clusters[pairs[:, 0]].tolist()
    of_cluster: defaultdict[int, list[int]] = defaultdict(list)
    for pair in reversed(range(len(pairs))):
        of_cluster[owner[pair]].append(pair)
    ordered: list[int] = []
    for first in range(len(pairs)):
        if first not in of_cluster[owner[first]]:
            continue  # in an earlier group
        grouped = len(ordered) // size % 2 == 1
        others = min(group, size - len(ordered) % size) - 1 if grouped else 0
        of_cluster[owner[first]].remove(first)
        near = (cluster for cluster in similar.get(owner[first], _NONE).tolist() if of_cluster[cluster])
        ordered += [first, *(of_cluster[cluster].pop() for cluster in islice(near, others))]
    return pairs[ordered]
