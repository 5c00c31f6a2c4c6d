"""The search of an index for each of its own images, in blocks: the nearest other images of each, and mutual pairs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.data.ranking import Ranking
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import OpenIndex

_ROUNDING = 1e-5  # share by which the scores of a pair may differ in its two directions
_COLUMNS = ("query", "image", "score")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images of an index, each once, in ascending order.

    Args:
        one: of shape (P,), the smaller id of each pair.
        other: of shape (P,), the larger id.
        score: of shape (P,), the similarity.
    """

    one: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.one)

    def select(self, rows: npt.NDArray[np.bool_]) -> "Pairs":
        """The chosen pairs; `rows` is of shape (P,)."""
        return Pairs(self.one[rows], self.other[rows], self.score[rows])


def find_neighbours(index: OpenIndex, top: int, progress: Progress = SILENT) -> Ranking:
    """Find the most similar other images of each image of an index.

    Memory is needed for the result, and for one block of queries.

    Args:
        top: number of images for each, K, at least 1. Without a visual word in common, images are not similar.
        progress: one step for each image.

    Returns:
        At most K images for each query; query k is image k.

    Raises:
        ArtifactError: a file of the index is damaged.
    """
    parts = [Ranking.from_queries([], [])]
    first = 0
    with progress.task("compare all images", index.images) as task:
        for batch in index.stored_queries():
            found = index.rank(batch, top + 1)
            images = int(found.query.max(initial=-1)) + 1
            others = found.image != found.query + first
            similar = found.select(others & (found.score > 0) if index.explains else others).cut(top)
            parts.append(Ranking(similar.query + first, similar.image, similar.score))
            first += images
            task.advance(images)
    query, image, score = (np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS)
    return Ranking(query, image, score)


def mutual_pairs(neighbours: Ranking, images: int, top: int) -> Pairs:
    """The pairs of images of which each is among the nearest of the other.

    What ties with the last of the nearest images counts as one of them: so copies of a photo are pairs, also if there
    are more copies than `top`.

    Args:
        neighbours: what `find_neighbours` returned.
        images: number of images of the index.
        top: as given to `find_neighbours`.
    """
    reach = np.full(images, -np.inf, np.float32)
    last = neighbours.rank == top
    lowest = neighbours.score[last]
    reach[neighbours.query[last]] = lowest - _ROUNDING * np.abs(lowest)
    mutual = neighbours.select(neighbours.score >= reach[neighbours.image])
    one, other = np.minimum(mutual.query, mutual.image), np.maximum(mutual.query, mutual.image)
    order = np.lexsort((-mutual.score, other, one))  # of both directions, the higher score comes first
    pairs = Pairs(one[order], other[order], mutual.score[order])
    repeated = (np.diff(pairs.one, prepend=-1) == 0) & (np.diff(pairs.other, prepend=-1) == 0)
    return pairs.select(~repeated)
