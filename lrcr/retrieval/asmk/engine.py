"""The backend of local descriptors, ASMK: descriptors → postings → inverted file → ranking."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.retrieval import IndexParams, SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, ParamsError, counted
from lrcr.features.store import Descriptors, Sample
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.aggregation import Aggregated, read_aggregated, write_aggregated
from lrcr.retrieval.asmk.codebook import Codebook, open_codebook
from lrcr.retrieval.asmk.explain import Match, Side, explain
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.index import MEMORY, Index, open_index, seal_index
from lrcr.retrieval.asmk.segments import Layout, open_segments, write_segments
from lrcr.retrieval.asmk.sharing import share_segments
from lrcr.retrieval.asmk.speed import draw_queries, measure
from lrcr.retrieval.asmk.stored import restore_parts
from lrcr.retrieval.asmk.weights import measure_segments
from lrcr.runtime.jobs import Executor
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest

_LOG = logging.getLogger(__name__)
_RECALL_SAMPLE = 2000  # descriptors
_QUERY_MEMORY = 2**28  # bytes of `restore_parts` for a batch of stored images that are queries: 64 MiB of postings
_RECALL_DEPTHS = {1, 5}  # words of a database and of a query descriptor in the literature


@dataclass(frozen=True)
class AsmkBackend:
    """The inverted file; see `lrcr.retrieval.backend.Backend`.

    Args:
        codebook_folder: of the visual words.
        index: the section `index` of the params.
        seed: of the sample on which recall is measured.
    """

    codebook_folder: Path
    index: IndexParams
    seed: int

    @property
    def local_mean(self) -> npt.NDArray[np.float32]:
        """The mean of the centroids of the codebook, of shape (D,); see `lrcr.retrieval.local_encoder`."""
        mean: npt.NDArray[np.float32] = self._words.centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def encode(self, images: Descriptors, names: Sequence[str]) -> Aggregated:
        """Compute the postings of database images; the names are for error messages.

        Raises:
            ArtifactError: the codebook is missing or damaged, or as `aggregate_images`.
        """
        settings = self.index
        return aggregate_images(images, self._words, settings.multiple_assignment, binary=settings.binary, names=names)

    def write_part(self, path: Path, part: Aggregated) -> None:
        """Write what `encode` returned."""
        write_aggregated(path, part)

    def read_part(self, path: Path) -> Aggregated:
        """Read what `write_part` wrote."""
        return read_aggregated(path)

    def build(
        self, parts: Iterable[Aggregated], images: int, sample: Sample, folder: Path, inputs: dict[str, str]
    ) -> None:
        """Write the inverted file of a database into an existing (staged) folder.

        Args:
            parts: what `encode` returned for consecutive images.
            images: number of images in all parts; unused.
            sample: draws descriptors of the database.
            inputs: what the index is made from (see `Manifest`).

        Raises:
            ArtifactError: the codebook is damaged or does not fit the descriptors.
        """
        self._warn_of_unused_bits()
        entries = write_segments(folder, parts, self._layout, self._memory)
        self._seal(folder, entries, sample, inputs)

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
        """Write the inverted file from files of postings, each segment by one worker; see `Backend`."""
        self._warn_of_unused_bits()
        entries = share_segments(files, self._layout, self._memory, folder, executor, progress)
        self._seal(folder, entries, sample, inputs)

    def open(self, folder: Path, search: SearchParams, manifest: Manifest | None = None) -> "AsmkSearch":
        """Open an index for search; see `lrcr.retrieval.backend.Backend`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        return AsmkSearch(open_index(folder, manifest), self._words, self.index.multiple_assignment, search)

    def append(self, folder: Path, parts: Iterable[Aggregated], images: int, number: int) -> list[dict[str, Any]]:
        """Write images into new segments; see `lrcr.retrieval.backend.Backend`."""
        return write_segments(folder, parts, self._layout, self._memory, number)

    def restore(
        self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64]
    ) -> Iterator[Aggregated]:
        """The stored postings in another order; see `lrcr.retrieval.backend.Backend`."""
        assigned = [entry["assigned"] / max(1, entry["postings"]) for entry in entries]
        return restore_parts(open_segments(folder, entries, self._layout), assigned, self._layout, order, self._memory)

    def measure(
        self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64], number: int
    ) -> dict[str, Any]:
        """Write the weights of the words, and return the facts; see `lrcr.retrieval.backend.Backend`."""
        segments = open_segments(folder, entries, self._layout)
        return measure_segments(folder, segments, entries, self._layout, number, order)

    def _warn_of_unused_bits(self) -> None:
        dim = self._layout.dim
        if self.index.binary and dim % 32:
            _LOG.warning(
                "index: codes of %d bits: those missing to %d count as equal, so unrelated descriptors are similar; "
                "set whitening.dim to a multiple of 32",
                *(dim, -(-dim // 32) * 32),
            )

    def _seal(self, folder: Path, entries: Sequence[dict[str, Any]], sample: Sample, inputs: dict[str, str]) -> None:
        params, facts = {"index": self.index.model_dump(mode="json")}, self._measure_recall(sample)
        seal_index(folder, entries, self._layout, params=params, inputs=inputs, facts=facts)

    @property
    def _layout(self) -> Layout:
        words, dim = self._words.centroids.shape
        return Layout(words, dim, self.index.binary, self.index.pack_ids)

    @property
    def _memory(self) -> int:
        """Memory for the sorting of postings, in bytes."""
        return int(self.index.memory_gib * 2**30)

    @cached_property
    def _words(self) -> Codebook:
        codebook, _ = open_codebook(self.codebook_folder)
        return replace(codebook, approximate=self.index.quantisation == "approximate")

    def _measure_recall(self, sample: Sample) -> dict[str, float]:
        """The recall of approximate assignment, for the manifest; empty if assignment is exact."""
        if not self._words.approximate:
            return {}
        descriptors = sample(_RECALL_SAMPLE, generator(self.seed, "recall sample"))
        depths = sorted(_RECALL_DEPTHS | {self.index.multiple_assignment})
        return {f"recall@{depth}": self._words.recall(descriptors, depth) for depth in depths}


@dataclass(frozen=True, eq=False)
class AsmkSearch:
    """An inverted file open for search; see `lrcr.retrieval.backend.OpenIndex`.

    Args:
        index: the inverted file.
        codebook: its visual words.
        assignment: words of a database descriptor.
        settings: of the search.
    """

    index: Index
    codebook: Codebook
    assignment: int
    settings: SearchParams

    explains = True
    """Local descriptors have local matches."""

    logarithmic = True
    """Powers of similarities: unrelated scores differ by factors."""

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
        size = f"{counted(round(facts['words_per_image']), 'word')} and {facts['bytes_per_image']:.0f} bytes an image"
        return f"{counted(self.images, 'image')}, {size}"

    def prepare(self, queries: Descriptors) -> Aggregated:
        """Compute the postings of each query; raises as `aggregate_images`."""
        assignment = self.settings.multiple_assignment
        return aggregate_images(queries, self.codebook, assignment, binary=self.index.layout.binary)

    def rank(self, queries: Aggregated, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        settings = self.settings
        images, scores, offsets = self.index.search(
            queries, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=top
        )
        query = np.repeat(np.arange(queries.count), np.diff(offsets))
        return Ranking(query=query, image=images, score=scores)

    def stored_queries(self) -> Iterator[Aggregated]:
        """The postings of the images, as queries; see `lrcr.retrieval.backend.OpenIndex`.

        These are the postings that the index stores: a descriptor has `index.multiple_assignment` words, whatever
        `search.multiple_assignment` is. Queries and images are treated alike, so that the score of an image with itself
        is 1.
        """
        index = self.index
        order = np.arange(index.images) if index.order is None else index.order
        return restore_parts(index.segments, [1.0] * len(index.segments), index.layout, order, _QUERY_MEMORY)

    def shard(self, number: int, shards: int) -> "tuple[AsmkSearch, npt.NDArray[np.int64]]":
        """Some of the segments, and the ids of their images; see `lrcr.retrieval.backend.OpenIndex`."""
        index, images = self.index.shard(number, shards)
        return replace(self, index=index), images

    def vectors(self) -> npt.NDArray[np.float32]:
        """Refuse: there are no global vectors.

        Raises:
            ArtifactError: always.
        """
        raise ArtifactError(f"{self.index.folder}: holds local descriptors, and no global vectors")

    def postings(self, images: npt.NDArray[np.int64]) -> Aggregated:
        """The postings of some images, in their order; every posting of the index is read."""
        index = self.index
        places = images if index.order is None else index.order[images]
        assigned = [0.0] * len(index.segments)
        return next(restore_parts(index.segments, assigned, index.layout, places, MEMORY))

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """The matches of a query and an image; see `lrcr.retrieval.asmk.explain`."""
        settings, index = self.settings, self.index
        return explain(
            Side(query, settings.multiple_assignment),
            Side(image, self.assignment),
            self.codebook,
            index.idf if settings.idf else np.ones_like(index.idf),
            alpha=settings.alpha,
            tau=settings.tau,
            binary=index.layout.binary,
        )

    def measure(self, queries: int) -> dict[str, float]:
        """Measure the speed of the search, from the postings of random queries to the ranking.

        See `lrcr.retrieval.asmk.speed`.

        Raises:
            ParamsError: the index has no postings.
        """
        index, settings = self.index, self.settings
        words = round(self.manifest.facts["words_per_image"] * settings.multiple_assignment)
        if not words:
            raise ParamsError(f"{index.folder}: its images have no descriptors; index other photos")
        drawn = draw_queries(index, queries, words, np.random.default_rng(0))
        top = settings.top or index.images
        return asdict(measure(index, drawn, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=top))

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        self.index.verify(progress)
