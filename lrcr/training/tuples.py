"""Training tuples: a query, a positive and hard negatives of other clusters (Radenović, Tolias, Chum, TPAMI 2019)."""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Dataset, Ids, Photo, cluster_ids
from lrcr.errors import DatasetError


@dataclass(frozen=True)
class TrainingSet:
    """The images of a training.

    Args:
        photos: the n images.
        clusters: of each image, of shape (n,); images of one cluster are never negatives of each other.
        pairs: query and positive, image ids of shape (P, 2); if P = 0, any two images of a cluster are a pair.
    """

    photos: list[Photo]
    clusters: Ids
    pairs: Ids

    def draw_pairs(self, count: int, rng: np.random.Generator) -> Ids:
        """Draw at most `count` pairs (query, positive) without replacement: of shape (≤ count, 2).

        If any two images of a cluster are a pair, each image is a query once at most.

        Raises:
            DatasetError: there is no pair.
        """
        if len(self.pairs):
            return self.pairs[_draw(len(self.pairs), count, rng)]
        order = np.argsort(self.clusters, kind="stable")
        _, starts, sizes = np.unique(self.clusters[order], return_index=True, return_counts=True)
        position = np.arange(len(order)) - np.repeat(starts, sizes)
        start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
        paired = np.flatnonzero(size > 1)
        if not len(paired):
            _refuse_pairs(len(sizes))
        row = paired[_draw(len(paired), count, rng)]
        other = start[row] + (position[row] + rng.integers(1, size[row])) % size[row]
        return np.stack([order[row], order[other]], axis=1)


def _draw(total: int, count: int, rng: np.random.Generator) -> Ids:
    return rng.permutation(total)[:count]


def training_set(dataset: Dataset, clusters: Ids | None = None) -> TrainingSet:
    """All images of a dataset, or only those of the given clusters (ids of `lrcr.data.dataset.cluster_ids`)."""
    ids = cluster_ids(dataset)
    kept = np.arange(len(ids)) if clusters is None else np.flatnonzero(np.isin(ids, clusters))
    renumbered = np.full(len(ids), -1, np.int64)
    renumbered[kept] = np.arange(len(kept))
    pairs = renumbered[dataset.pairs.to_numpy(np.int64)]
    photos = dataset.photos()
    return TrainingSet([photos[i] for i in kept], ids[kept], pairs[(pairs >= 0).all(axis=1)])


def labelled_images(images: TrainingSet) -> tuple[TrainingSet, Ids]:
    """The n images whose label at least one other image has, and their classes from 0, of shape (n,).

    Raises:
        DatasetError: there are fewer than two such labels.
    """
    _, row, sizes = np.unique(images.clusters, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes[row] > 1)
    names, classes = np.unique(images.clusters[kept], return_inverse=True)
    if len(names) < 2:
        raise DatasetError("training: fewer than two labels have two images; label more photos (a labels.csv)")
    chosen = TrainingSet([images.photos[i] for i in kept], images.clusters[kept], np.empty((0, 2), np.int64))
    return chosen, classes.astype(np.int64)


def require_tuples(images: TrainingSet, negatives: int) -> None:
    """Refuse images from which no tuple with this number of negatives can be drawn.

    Raises:
        DatasetError: no two images share a label, or there are too few landmarks for the negatives.
    """
    sizes = np.unique(images.clusters, return_counts=True)[1]
    if not len(images.pairs) and not (sizes > 1).any():
        _refuse_pairs(len(sizes))
    if len(sizes) < 2:
        raise DatasetError("training: all images have the same label; label photos of a second landmark (a labels.csv)")
    if len(sizes) <= negatives:
        _refuse_negatives(negatives, len(sizes))


def _refuse_pairs(landmarks: int) -> NoReturn:
    raise DatasetError(
        f"training: no two images share a label; label the photos (a labels.csv): {landmarks} landmarks have one image"
    )


def _refuse_negatives(count: int, landmarks: int) -> NoReturn:
    raise DatasetError(
        f"training: {count} negatives need {count + 1} landmarks, but the pool holds {landmarks}; "
        "lower train.tuples.negatives or add landmarks"
    )


def mine_negatives(similarity: npt.NDArray[np.float32], queries: Ids, pool: Ids, clusters: Ids, count: int) -> Ids:
    """The most similar images of the pool, of `count` different clusters other than the query's.

    Args:
        similarity: of each query to each image of the pool, of shape (T, P).
        queries: image ids, of shape (T,).
        pool: image ids, of shape (P,).
        clusters: of all images, of shape (n,).
        count: N, number of negatives of a query.

    Returns:
        Image ids of shape (T, N), the hardest first.

    Raises:
        DatasetError: the pool has fewer than N clusters other than a query's.
    """
    negatives = np.empty((len(queries), count), np.int64)
    pool_clusters = clusters[pool]
    for row, query in enumerate(queries):
        order = np.argsort(-similarity[row], kind="stable")
        order = order[pool_clusters[order] != clusters[query]]
        _, first = np.unique(pool_clusters[order], return_index=True)
        if len(first) < count:
            _refuse_negatives(count, len(first) + 1)
        negatives[row] = pool[order[np.sort(first)[:count]]]
    return negatives
