"""What a search with a photo finds, and where it matches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.data.decoding import ImageFile
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.rerank.geometric import Inlier
from lrcr.retrieval.searcher import Result


@dataclass(frozen=True)
class Hit(Result):
    """An image that was found.

    Args:
        query: the descriptors of the query photo, or of that version of it that matches best.
        version: which one this is: empty (the photo itself), 90°, 180°, 270° (clockwise) or mirrored.
        confidence: of the score before re-ranking (`lrcr.retrieval.confidence`), in [0, 1]; None: not calibrated.
    """

    query: Descriptors = field(repr=False, compare=False, kw_only=True)
    confidence: float | None = field(default=None, compare=False)
    version: str = field(default="", compare=False)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a query and a hit match.

    Args:
        query: x and y of each descriptor of the query, of shape (N, 2), in pixels of the photo.
        hit: those of the hit, of shape (M, 2).
        matches: words in common, the largest contribution first, or inliers; their rows are those of `query` and `hit`.
    """

    query: npt.NDArray[np.float32]
    hit: npt.NDArray[np.float32]
    matches: Sequence[Match | Inlier]

    @property
    def locations(self) -> npt.NDArray[np.float64]:
        """The mean location of each match in the query (x, y) and in the hit (x, y), of shape (matches, 4)."""
        ends = [(*self.query[m.query].mean(axis=0), *self.hit[m.image].mean(axis=0)) for m in self.matches]
        return np.array(ends, np.float64).reshape(-1, 4)


class Contents:
    """The bytes of a query photo."""

    def __init__(self, file: ImageFile) -> None:
        with file.open("rb") as stream:
            self._bytes = stream.read()
        self._sha256 = hashlib.sha256(self._bytes).hexdigest()

    def is_of(self, hit: Hit) -> bool:
        """Whether the file of a hit had these bytes when it was indexed, or has them if its hash is not known."""
        if hit.sha256 is not None:
            return hit.sha256 == self._sha256
        if isinstance(hit.path, Path) and (not hit.path.is_file() or hit.path.stat().st_size != len(self._bytes)):
            return False
        with hit.path.open("rb") as stream:
            return stream.read() == self._bytes
