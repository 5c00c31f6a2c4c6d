"""Approximate search of the nearest words, several times as fast as comparing with all words.

It is an IVF-PQ index (faiss): √words cells, some of which are searched, with 4 bits for every two dimensions; the
distances of a few candidates are then computed exactly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

FEW_WORDS = 1024
"""Fewer words are better searched exactly: there are too few to train the index."""


class WordCells:
    """The words in cells.

    Args:
        centroids: of shape (words, D), at least `FEW_WORDS`.
        share: of the cells that are searched.
    """

    def __init__(self, centroids: npt.NDArray[np.float32], share: float) -> None:
        import faiss

        words, dim = centroids.shape
        cells, subspaces = int(words**0.5), dim // 2 if dim % 2 == 0 else dim
        self._centroids = centroids
        self._index: Any = faiss.index_factory(dim, f"IVF{cells},PQ{subspaces}x4fs,RFlat")
        inverted = faiss.extract_index_ivf(self._index)
        inverted.cp.min_points_per_centroid = 1
        inverted.nprobe = max(1, round(share * cells))
        self._index.train(centroids)
        self._index.add(centroids)

    def search(self, points: npt.NDArray[np.float32], count: int, candidates: int) -> npt.NDArray[np.int64]:
        """The words found nearest to each descriptor, nearest first.

        Args:
            points: of shape (N, D).
            count: number of words for each descriptor, at most all.
            candidates: for each of these words, whose distances are computed exactly.

        Returns:
            Word ids of shape (N, count).
        """
        import faiss

        self._index.k_factor = candidates
        nearest = np.asarray(self._index.search(points, count)[1])
        missing = (nearest < 0).any(axis=1)  # the searched cells hold fewer than `count` words
        if missing.any():
            nearest[missing] = faiss.knn(points[missing], self._centroids, count)[1]
        return nearest
