"""The index: segments of the inverted file, the weights of the words, and a manifest that is replaced atomically.

The folder `weights-<number>/` holds the weight of each word over all segments (`lrcr.retrieval.asmk.weights`). The
facts of the manifest list the folders in use, the size and hash of each file, and counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError, counted
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.kernels import AT_ONCE, Queries, score_segment
from lrcr.retrieval.asmk.segments import Layout, Segment, open_segments, write_segments
from lrcr.retrieval.asmk.similarity import Similarity, similarities
from lrcr.retrieval.asmk.weights import measure_segments
from lrcr.storage.arrays import REBUILD, listed_folders, open_array, open_order, verify_arrays
from lrcr.storage.artifacts import MANIFEST, Manifest, open_manifest, write_manifest
from lrcr.storage.division import divide

MEMORY = 2**31
"""Default memory for the sorting of postings, in bytes; postings that do not fit become another segment."""

_SCORES_AT_ONCE = 2**26  # scores (queries × images) that are held in memory at a time: 256 MiB


@dataclass(frozen=True, eq=False)
class Index:
    """An index open for search.

    Args:
        folder: of the index.
        manifest: what the index was made from, and its statistics.
        layout: of the segments.
        segments: in the order of their images.
        idf: ω of each word, of shape (words,).
        idf_norm: √Σω over the words of each stored image, of shape (stored,).
        order: places of the images among the stored ones (`lrcr.storage.arrays.open_order`).
    """

    folder: Path
    manifest: Manifest
    layout: Layout
    segments: tuple[Segment, ...]
    idf: npt.NDArray[np.float64]
    idf_norm: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64] | None = None

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.idf_norm if self.order is None else self.order)

    def search(
        self, queries: Aggregated, *, alpha: float, tau: float, idf: bool, top: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Rank the images for each query by ASMK (Tolias et al., ICCV 2013); ties by image id.

        Args:
            queries: each image of the batch is a query.
            alpha: exponent of the similarity u: σ(u) = u^alpha for u ≥ tau, else 0.
            tau: similarity below which a match counts 0, not negative.
            idf: whether words are weighted by their inverse document frequency.
            top: number of images returned for each query, at least 1; None returns all, including those of score 0.

        Returns:
            Images and scores, of shape (R,), and offsets of shape (queries + 1,): query q has the results
            offsets[q]:offsets[q+1].

        Raises:
            ArtifactError: the postings of queries and index differ in kind, or the index is damaged.
        """
        self.layout.require(queries, str(self.folder))
        weights = self.idf if idf else self._uniform_weights
        batch = _as_queries(queries, weights)
        similarity = Similarity(similarities(queries.dim, alpha, tau), float(alpha), float(tau), weights)
        count = self.images if top is None else min(top, self.images)
        images = np.empty((queries.count, count), np.int64)
        scores = np.empty((queries.count, count), np.float32)
        block = max(1, _SCORES_AT_ONCE // max(1, len(self.idf_norm)))
        for first in range(0, queries.count, block):
            chosen = slice(first, min(first + block, queries.count))
            found = self._score(_select(batch, chosen), similarity, idf=idf)
            for query, row in enumerate(found, first):
                own = row if self.order is None else row[self.order]
                images[query] = _rank(own, count)
                scores[query] = own[images[query]]
        return images.ravel(), scores.ravel(), np.arange(queries.count + 1, dtype=np.int64) * count

    def shard(self, number: int, shards: int) -> tuple["Index", npt.NDArray[np.int64]]:
        """One of several parts, each some consecutive segments, and the ids of its images, ascending.

        The weights of the words and the norms remain those of the whole index.

        Raises:
            ParamsError: there are fewer segments than parts.
        """
        postings = [int(segment.lists.offsets[-1]) for segment in self.segments]
        first, stop = divide(postings, shards, f"{self.folder} has {counted(len(postings), 'segment')}")[number]
        own = self.segments[first:stop]
        low, high = own[0].base, own[-1].base + own[-1].count
        segments = tuple(replace(segment, base=segment.base - low) for segment in own)
        part = replace(self, segments=segments, idf_norm=self.idf_norm[low:high])
        if self.order is None:
            return part, np.arange(low, high)
        images = np.flatnonzero((self.order >= low) & (self.order < high))
        return replace(part, order=self.order[images] - low), images

    @cached_property
    def _uniform_weights(self) -> npt.NDArray[np.float64]:
        """ω without IDF: ones. Read-only as `idf` is, so that numba compiles the kernels only once."""
        weights = np.ones_like(self.idf)
        weights.flags.writeable = False
        return weights

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        verify_arrays(self.folder, listed_folders(self.manifest.facts), progress)

    def _score(self, queries: Queries, similarity: Similarity, *, idf: bool) -> npt.NDArray[np.float32]:
        """The scores of all stored images for each query, of shape (queries, stored).

        Raises:
            ArtifactError: a segment holds image ids that are too large.
        """
        count = len(queries.scale)
        scores = np.empty((count, len(self.idf_norm)), np.float32)
        spans = -(-numba.get_num_threads() // max(1, count))
        for segment in self.segments:
            images = slice(segment.base, segment.base + segment.count)
            lists = segment.lists._replace(norm=self.idf_norm[images]) if idf else segment.lists
            if score_segment(queries, lists, similarity, segment.base, spans, scores, AT_ONCE):
                file = segment.folder / ("packed.npy" if self.layout.packed else "images.npy")
                raise ArtifactError(f"{file}: image ids beyond the segment's {segment.count} images; {REBUILD}")
        return scores


def _as_queries(queries: Aggregated, weights: npt.NDArray[np.float64]) -> Queries:
    """Queries as the kernels take them."""
    totals = np.bincount(queries.images, weights=weights[queries.words], minlength=queries.count)
    return Queries(
        offsets=queries.offsets,
        words=queries.words,
        codes=queries.vectors if queries.binary else np.empty((0, 0), np.uint64),
        residuals=np.empty((0, 0), np.float32) if queries.binary else queries.vectors.astype(np.float32),
        scale=np.divide(1, np.sqrt(totals), out=np.zeros(queries.count), where=totals > 0),
    )


def _select(queries: Queries, chosen: slice) -> Queries:
    """Some of the queries; their offsets still refer to the postings of all queries."""
    return queries._replace(offsets=queries.offsets[chosen.start : chosen.stop + 1], scale=queries.scale[chosen])


def _rank(scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Ids of the `count` highest scores, highest first, ties by id; no score is negative.

    The bit patterns of non-negative floats have the same order as the floats. So one integer holds the score,
    inverted, and the id below it; integers sort faster than floats, and no stable sort is needed.
    """
    keys = (~scores.view(np.uint32)).astype(np.uint64) << np.uint64(32) | np.arange(len(scores), dtype=np.uint64)
    if count < len(keys):
        keys = np.partition(keys, count)[:count]
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def build_index(
    folder: Path,
    parts: Iterable[Aggregated],
    layout: Layout,
    *,
    params: dict[str, Any],
    inputs: dict[str, str],
    memory: int = MEMORY,
    facts: dict[str, Any] | None = None,
) -> Manifest:
    """Write an index into an existing (staged) folder.

    Args:
        parts: batches of postings of consecutive images.
        memory: for the sorting of postings, in bytes; postings that do not fit become another segment.
        facts: further facts for the manifest.
        params: what the index is made with (see `Manifest`).
        inputs: what it is made from.

    Raises:
        ArtifactError: a part does not fit the layout.
    """
    entries = write_segments(folder, parts, layout, memory)
    return seal_index(folder, entries, layout, params=params, inputs=inputs, facts=facts)


def seal_index(
    folder: Path,
    entries: Sequence[dict[str, Any]],
    layout: Layout,
    *,
    params: dict[str, Any],
    inputs: dict[str, str],
    facts: dict[str, Any] | None = None,
) -> Manifest:
    """Compute the weights of the words over segments that are already written, and write the manifest of the index.

    Args:
        entries: what `write_segment` returned for each segment, in the order of their images.
        facts: further facts for the manifest.
        params: what the index is made with (see `Manifest`).
        inputs: what it is made from.
    """
    measured = measure_segments(folder, open_segments(folder, entries, layout), entries, layout, len(entries))
    manifest = Manifest("index", params, inputs, {**(facts or {}), **measured})
    write_manifest(folder, manifest)
    return manifest


def open_index(folder: Path, manifest: Manifest | None = None) -> Index:
    """Open an index. Sizes and offsets are checked, which takes milliseconds; `Index.verify` checks the contents.

    Args:
        manifest: of the index, if it is not written yet.

    Raises:
        ArtifactError: a file is missing or damaged; the message names it.
    """
    manifest = manifest or open_manifest(folder, "index")
    facts = manifest.facts
    try:
        layout = Layout(facts["words"], facts["dim"], facts["binary"], facts["packed"])
        segments = open_segments(folder, facts["segments"], layout)
        weights, files = folder / facts["weights"]["folder"], facts["weights"]["files"]
        idf = open_array(weights, "idf", files, np.float64, (layout.words,))
        stored = sum(segment.count for segment in segments)
        if "view" not in facts and stored != facts["images"]:
            raise ArtifactError(f"{folder / MANIFEST}: its segments do not hold {facts['images']} images; {REBUILD}")
        norm = open_array(weights, "norm", files, np.float32, (stored,))
        order = open_order(folder, facts, stored)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts are incomplete or wrong ({error}); {REBUILD}") from None
    return Index(folder, manifest, layout, segments, idf, norm, order)
