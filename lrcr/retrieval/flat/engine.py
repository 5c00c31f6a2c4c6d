"""The backend of global vectors: descriptor rows → whitening → flat index → ranking."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.retrieval import IndexParams, SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, counted
from lrcr.features.store import Descriptors, Sample
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.flat.index import (
    FlatIndex,
    build_flat_index,
    measure_vectors,
    open_flat_index,
    open_vectors,
    take_rows,
    write_vectors_segment,
)
from lrcr.retrieval.flat.vectors import (
    RowWhitening,
    Vectors,
    normalise,
    read_vectors,
    to_vectors,
    write_vectors,
)
from lrcr.retrieval.flat.whitening import open_whitening
from lrcr.runtime.jobs import Executor
from lrcr.storage.artifacts import Manifest

_ROUNDS = 7
_QUERIES_AT_ONCE = 4096
_FLOATS_AT_ONCE = 2**24  # values that are restored at a time: 64 MiB


@dataclass(frozen=True)
class FlatBackend:
    """The flat index of global vectors; see `lrcr.retrieval.backend.Backend`.

    Args:
        codebook_folder: of the whitening.
        index: the section `index` of the params.
        gpu: whether faiss searches on a GPU.
    """

    codebook_folder: Path
    index: IndexParams
    gpu: bool

    @property
    def local_mean(self) -> npt.NDArray[np.float32]:
        """Zero: without visual words no mean of local descriptors is known."""
        return np.zeros(1, np.float32)

    def encode(self, images: Descriptors, names: Sequence[str]) -> Vectors:
        """Compute the vector of each database image; the names are for error messages.

        Raises:
            ArtifactError: the whitening is missing or damaged, or as `to_vectors`.
        """
        return to_vectors(images, self._row_whitening, names)

    def write_part(self, path: Path, part: Vectors) -> None:
        """Write what `encode` returned."""
        write_vectors(path, part)

    def read_part(self, path: Path) -> Vectors:
        """Read what `write_part` wrote."""
        return read_vectors(path)

    def build(
        self, parts: Iterable[Vectors], images: int, sample: Sample, folder: Path, inputs: dict[str, str]
    ) -> None:
        """Write the flat index of a database into an existing (staged) folder.

        Args:
            parts: what `encode` returned for consecutive images.
            images: number of images in all parts.
            sample: unused.
            inputs: what the index is made from (see `Manifest`).
        """
        params = {"index": self.index.model_dump(mode="json")}
        build_flat_index(folder, parts, images, dtype=self.index.dtype, params=params, inputs=inputs)

    def build_shared(
        self,
        files: Sequence[Path],
        images: int,
        sample: Sample,
        folder: Path,
        inputs: dict[str, str],
        executor: Executor,
        progress: Progress,
    ) -> None:
        """Write the flat index from files of vectors; there is no work to share. See `Backend`."""
        self.build(map(self.read_part, progress.over(files, "index")), images, sample, folder, inputs)

    def open(self, folder: Path, search: SearchParams, manifest: Manifest | None = None) -> "FlatSearch":
        """Open an index for search; see `lrcr.retrieval.backend.Backend`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        return FlatSearch(open_flat_index(folder, manifest), self._row_whitening, self.gpu, search)

    def append(self, folder: Path, parts: Iterable[Vectors], images: int, number: int) -> list[dict[str, Any]]:
        """Write images into a new segment; see `lrcr.retrieval.backend.Backend`."""
        return [write_vectors_segment(folder / f"vectors-{number:04d}", parts, images, self.index.dtype)]

    def restore(
        self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64]
    ) -> Iterator[Vectors]:
        """The stored vectors in another order; see `lrcr.retrieval.backend.Backend`."""
        segments = open_vectors(folder, entries, self.index.dtype)
        block = max(1, _FLOATS_AT_ONCE // segments[0].shape[1])
        for first in range(0, max(1, len(order)), block):
            yield take_rows(segments, order[first : first + block]).astype(np.float32, copy=False)

    def measure(
        self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64], number: int
    ) -> dict[str, Any]:
        """The facts for the manifest; see `lrcr.retrieval.backend.Backend`."""
        return measure_vectors(entries, self.index.dtype, len(order))

    @cached_property
    def _row_whitening(self) -> RowWhitening | None:
        return open_whitening(self.codebook_folder)[0]


@dataclass(frozen=True, eq=False)
class FlatSearch:
    """A flat index open for search; see `lrcr.retrieval.backend.OpenIndex`.

    Args:
        index: the vectors.
        whitening: of the rows of images and queries.
        gpu: whether faiss searches on a GPU.
        settings: of the search; only `top` is used, by `measure`.
    """

    index: FlatIndex
    whitening: RowWhitening | None
    gpu: bool
    settings: SearchParams

    explains = False
    """Global vectors have no local matches."""

    logarithmic = False
    """Cosines, which may be negative."""

    @property
    def manifest(self) -> Manifest:
        """What the index was made from, and its statistics."""
        return self.index.manifest

    @property
    def images(self) -> int:
        """The number of images."""
        return self.index.images

    @property
    def order(self) -> npt.NDArray[np.int64] | None:
        """The places of the images in the table of images; None: as they are numbered."""
        return self.index.order

    @property
    def summary(self) -> str:
        """The size of the index, as a text."""
        facts = self.manifest.facts
        size = f"{counted(facts['dimensions'], 'dimension')} and {facts['bytes_per_image']:.0f} bytes an image"
        return f"{counted(self.images, 'image')}, {size}"

    def prepare(self, queries: Descriptors) -> Vectors:
        """Compute the vector of each query; raises as `to_vectors`."""
        return to_vectors(queries, self.whitening)

    def rank(self, queries: Vectors, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        images, scores = self.index.search(queries, top, gpu=self.gpu)
        return Ranking.from_queries(list(images), list(scores))

    def stored_queries(self) -> Iterator[Vectors]:
        """The vectors of the images, as queries; see `lrcr.retrieval.backend.OpenIndex`."""
        for first in range(0, self.images, _QUERIES_AT_ONCE):
            yield self.index.rows(first, min(first + _QUERIES_AT_ONCE, self.images)).astype(np.float32, copy=False)

    def shard(self, number: int, shards: int) -> "tuple[FlatSearch, npt.NDArray[np.int64]]":
        """Some of the blocks, and the ids of their images; see `lrcr.retrieval.backend.OpenIndex`."""
        index, images = self.index.shard(number, shards)
        return replace(self, index=index), images

    def vectors(self) -> Vectors:
        """The vectors of all images, of shape (images, D)."""
        return np.asarray(self.index.rows(0, self.images), np.float32)

    def postings(self, images: npt.NDArray[np.int64]) -> Aggregated:
        """Refuse: global vectors have no visual words.

        Raises:
            ArtifactError: always.
        """
        raise ArtifactError(f"{self.index.folder}: holds global vectors, which have no visual words")

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """Refuse: global vectors have no local matches.

        Raises:
            ArtifactError: always.
        """
        raise ArtifactError(f"{self.index.folder}: holds global vectors, which have no local matches to explain")

    def measure(self, queries: int) -> dict[str, float]:
        """Measure the speed of the search, with random vectors.

        Returns:
            `open_ms` to open the index, `query_ms` for a single query and `batch_ms` for a query of a batch, medians of
            several rounds; and `bytes_per_image`.
        """
        index, top = self.index, self.settings.top
        drawn = normalise(np.random.default_rng(0).normal(size=(queries, index.dim)).astype(np.float32))
        singles = [drawn[query : query + 1] for query in range(min(5, queries))]

        def search_singles() -> None:
            for query in singles:
                index.search(query, top, gpu=self.gpu)

        steps = (lambda: open_flat_index(index.folder), search_singles, lambda: index.search(drawn, top, gpu=self.gpu))
        medians = np.median([[_milliseconds(step) for step in steps] for _ in range(_ROUNDS)], axis=0)
        opened, single, batch = (float(value) for value in medians)
        return {
            "open_ms": opened,
            "query_ms": single / len(singles),
            "batch_ms": batch / queries,
            "bytes_per_image": self.manifest.facts["bytes_per_image"],
        }

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        self.index.verify(progress)


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)
