"""Steps of pairs that are hard to tell apart: pairs of clusters whose images have high ASMK scores."""

from collections import defaultdict

import numpy as np

from lrcr.data.dataset import Ids
from lrcr.data.ranking import Ranking


def similar_clusters(ranking: Ranking, clusters: Ids) -> dict[int, Ids]:
    """The other clusters of each cluster, by the best score between their images, most similar first.

    Args:
        ranking: of images for each of the same images.
        clusters: of the images, of shape (n,).
    """
    pairs = np.stack([clusters[ranking.query], clusters[ranking.image]], axis=1)
    order = np.argsort(-ranking.score, kind="stable")
    found: defaultdict[int, dict[int, None]] = defaultdict(dict)
    for cluster, other in pairs[order].tolist():
        if other != cluster:
            found[cluster].setdefault(other)
    return {cluster: np.array(list(others), np.int64) for cluster, others in found.items()}


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
    left: dict[int, None] = dict.fromkeys(range(len(pairs)))
    of_cluster: defaultdict[int, list[int]] = defaultdict(list)
    for pair in reversed(range(len(pairs))):
        of_cluster[owner[pair]].append(pair)
    ordered: list[int] = []

    def take(pair: int) -> None:
        ordered.append(pair)
        del left[pair]
        of_cluster[owner[pair]].remove(pair)

    while left:
        wanted = 1 if len(ordered) // size % 2 == 0 else min(group, size - len(ordered) % size)
        first = next(iter(left))
        take(first)
        nearest = similar.get(owner[first], np.empty(0, np.int64)).tolist()
        for cluster in [cluster for cluster in nearest if of_cluster[cluster]][: wanted - 1]:
            take(of_cluster[cluster][-1])
    return pairs[ordered]
