"""Rankings: the images returned for each query, best first: all images or the top k; all others count as not found.

A ranking is stored as Parquet with the columns `query`, `rank` (from 1 in each query), `image` and `score`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lrcr.errors import ArtifactError
from lrcr.runtime.jit import read_only, serial
from lrcr.storage.artifacts import staged_file

_SCHEMA = pa.schema([("query", pa.int64()), ("rank", pa.int64()), ("image", pa.int64()), ("score", pa.float32())])
_MAX_IMAGES = 2**32  # an index stores image ids as uint32
_SPARSE = 256  # ids for each row, above which sorting the rows takes less time than a mark for each id


@dataclass(frozen=True, eq=False)
class Ranking:
    """The results of all queries, in ascending order of the query and, within a query, in rank order.

    Within a query, scores descend, images of equal score are in ascending order of their ids, and each occurs once.

    Args:
        query: query ids, int64 of shape (R,).
        image: ids of the returned images, int64 of shape (R,).
        score: similarities, float32 of shape (R,); larger is more similar.
        unsearched: images of the index that a sharded search did not look at, because their shard was lost.

    Raises:
        ArtifactError: the arrays violate one of these rules.
    """

    query: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    unsearched: int = 0

    def __post_init__(self) -> None:
        """Check the rules."""
        self._check_arrays()
        self._check_ids()
        self._check_order()
        self._check_repeats()

    def __len__(self) -> int:
        return len(self.query)

    @property
    def rank(self) -> npt.NDArray[np.int64]:
        """The rank of each row in its query, from 1: int64 of shape (R,)."""
        starts = np.flatnonzero(np.diff(self.query, prepend=-1))
        lengths = np.diff(starts, append=len(self))
        return np.arange(1, len(self) + 1) - np.repeat(starts, lengths)

    def of_query(self, query: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Images and scores of one query, best first, each of shape (K,); K = 0 if nothing was returned."""
        start, end = np.searchsorted(self.query, (query, query + 1))
        return self.image[start:end], self.score[start:end]

    def cut(self, top: int) -> "Ranking":
        """The first `top` images of each query."""
        return self.select(self.rank <= top)

    def select(self, rows: npt.NDArray[np.bool_]) -> "Ranking":
        """The chosen rows, in their order; `rows` is of shape (R,)."""
        return Ranking(self.query[rows], self.image[rows], self.score[rows], self.unsearched)

    @classmethod
    def from_queries(
        cls, images: Sequence[npt.NDArray[np.integer]], scores: Sequence[npt.NDArray[np.float32]]
    ) -> "Ranking":
        """Join the results of the queries 0, 1, 2, …: `images[q]` and `scores[q]`, each of shape (K_q,), best first.

        Raises:
            ArtifactError: as for the class, or `images` and `scores` differ in length.
        """
        lengths = [len(part) for part in images]
        if lengths != [len(part) for part in scores]:
            raise ArtifactError("ranking: images and scores differ in length; give each image one score")
        return cls(
            query=np.repeat(np.arange(len(lengths), dtype=np.int64), np.array(lengths, dtype=np.int64)),
            image=np.concatenate([np.empty(0, np.int64), *images], dtype=np.int64),
            score=np.concatenate([np.empty(0, np.float32), *scores]),
        )

    def save(self, path: Path) -> None:
        """Write the ranking as Parquet, atomically."""
        table = pa.table([self.query, self.rank, self.image, self.score], schema=_SCHEMA)
        with staged_file(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: Path) -> "Ranking":
        """Read a stored ranking.

        Raises:
            ArtifactError: it is missing, is not a ranking, or its rows violate the rules of the class.
        """
        table = _read_table(path)
        columns = {name: table[name].to_numpy() for name in _SCHEMA.names}
        try:
            ranking = cls(columns["query"], columns["image"], columns["score"])
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from None
        if not np.array_equal(ranking.rank, columns["rank"]):
            raise ArtifactError(f"{path}: the ranks of a query are not 1, 2, 3, …; search again")
        return ranking

    def _check_arrays(self) -> None:
        for name, dtype in (("query", np.int64), ("image", np.int64), ("score", np.float32)):
            array = getattr(self, name)
            if array.shape != (len(self),) or array.dtype != dtype:
                found = f"{array.dtype} of shape {array.shape}"
                raise ArtifactError(f"ranking: {name} is {found}; make it {np.dtype(dtype)} of shape ({len(self)},)")

    def _check_ids(self) -> None:
        self._refuse(self.query < 0, "query ids start at 0")
        self._refuse((self.image < 0) | (self.image >= _MAX_IMAGES), f"image ids are in 0…{_MAX_IMAGES - 1}")

    def _check_order(self) -> None:
        self._refuse(~np.isfinite(self.score), "the score is not finite; do not return such images")
        query_step = np.diff(self.query, prepend=0)
        self._refuse(query_step < 0, "queries must ascend; group the rows by query")
        same_query = query_step == 0
        rise = np.zeros(len(self), dtype=bool)
        rise[1:] = self.score[1:] > self.score[:-1]
        self._refuse(same_query & rise, "scores must not increase within a query; sort them best first")
        tie = np.zeros(len(self), dtype=bool)
        tie[1:] = (self.score[1:] == self.score[:-1]) & (self.image[1:] < self.image[:-1])
        self._refuse(same_query & tie, "images of equal score must ascend; break ties by image id")

    def _check_repeats(self) -> None:
        ids = int(self.image.max(initial=-1)) + 1
        if ids > _SPARSE * len(self):
            row = _first_repeat_by_sorting(self.query, self.image)
        else:
            row = _first_repeat(read_only(self.query), read_only(self.image), np.zeros(ids, dtype=bool))
        if row >= 0:
            self._refuse(np.arange(len(self)) == row, "the query has this image already; return each image once")

    def _refuse(self, bad: npt.NDArray[np.bool_], rule: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            values = f"query {self.query[row]}, image {self.image[row]}, score {self.score[row]}"
            raise ArtifactError(f"ranking: row {row} ({values}): {rule}")


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the stage that makes it") from None
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path}: not Parquet ({' '.join(str(error).split())}); search again") from None
    if table.schema != _SCHEMA:
        columns = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        expected = ", ".join(f"{field.name} {field.type}" for field in _SCHEMA)
        raise ArtifactError(f"{path}: has the columns {columns}; a ranking has {expected}")
    if any(column.null_count for column in table.columns):
        raise ArtifactError(f"{path}: contains empty values; search again")
    return table


@serial
def _first_repeat(query: npt.NDArray[np.int64], image: npt.NDArray[np.int64], seen: npt.NDArray[np.bool_]) -> int:
    """The first row whose image occurs earlier in its query, or −1; `seen` (largest id + 1,) must be all False."""
    start = 0
    for row in range(len(query)):
        if query[row] != query[start]:
            for earlier in range(start, row):
                seen[image[earlier]] = False
            start = row
        if seen[image[row]]:
            return row
        seen[image[row]] = True
    return -1


def _first_repeat_by_sorting(query: npt.NDArray[np.int64], image: npt.NDArray[np.int64]) -> int:
    """As `_first_repeat`, for few rows of many possible images."""
    order = np.lexsort((image, query))
    same = (np.diff(query[order]) == 0) & (np.diff(image[order]) == 0)
    return int(order[1:][same].min()) if same.any() else -1
