"""The index: segments of the inverted file and the weights of the words, under one atomically replaced manifest.

Beside the segments lies `weights-<segments>/`: `idf` (words) float64, the weight ω of each word over all segments, and
`norm` (images) float32, √Σω over the words of each image. Which folders are in use, the size and hash of each of their
files and the counts are facts of the manifest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.artifacts import MANIFEST, Manifest, hash_file, open_manifest, write_manifest
from lrcr.asmk.aggregation import Aggregated
from lrcr.asmk.kernels import Postings, add_weights, score_codes, score_residuals, similarities
from lrcr.asmk.segments import REBUILD, Layout, Segment, open_array, open_segment, write_arrays, write_segment
from lrcr.errors import ArtifactError
from lrcr.progress import Track, silent

_SCORES_AT_ONCE = 2**24  # queries × images in memory together: 128 MiB of float64


@dataclass(frozen=True, eq=False)
class Index:
    """An index open for search.

    Args:
        folder: where it lies.
        manifest: what it is and what it was made from.
        layout: what its segments share.
        segments: in the order of their images.
        idf: ω of each word, of shape (words,).
        idf_norm: √Σω over the words of each image, of shape (images,).
    """

    folder: Path
    manifest: Manifest
    layout: Layout
    segments: tuple[Segment, ...]
    idf: npt.NDArray[np.float64]
    idf_norm: npt.NDArray[np.float32]

    @property
    def images(self) -> int:
        """How many images it holds."""
        return len(self.idf_norm)

    def search(
        self, queries: Aggregated, *, alpha: float, tau: float, idf: bool, top: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Rank the images for each query by ASMK (Tolias et al., ICCV 2013); equal scores by image id.

        Args:
            queries: each image of the batch is a query.
            alpha, tau: σ(u) = u^alpha for u ≥ tau, else 0; tau is not negative.
            idf: whether rare words count for more.
            top: images returned for each query, at least 1; None returns all, those of score 0 too.

        Returns:
            Images and their scores, of shape (R,), and offsets (queries + 1,): query q owns offsets[q]:offsets[q+1].

        Raises:
            ArtifactError: the queries were aggregated otherwise than the images, or the index is damaged.
        """
        self.layout.require(queries, str(self.folder))
        kept = self.images if top is None else min(top, self.images)
        images = np.empty((queries.count, kept), np.int64)
        scores = np.empty((queries.count, kept), np.float32)
        block = max(1, _SCORES_AT_ONCE // max(1, self.images))
        for first in range(0, queries.count, block):
            chosen = slice(first, min(first + block, queries.count))
            for query, row in enumerate(self._score(queries, chosen, alpha, tau, idf), first):
                images[query] = _rank(row, kept)
                scores[query] = row[images[query]]
        return images.ravel(), scores.ravel(), np.arange(queries.count + 1, dtype=np.int64) * kept

    def verify(self, track: Track = silent) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: naming a file that was altered.
        """
        facts = self.manifest.facts
        entries = [*facts["segments"], facts["weights"]]
        files = [
            (self.folder / entry["folder"] / name, entry["files"][name]) for entry in entries for name in entry["files"]
        ]
        for path, stored in track(files, "verify", len(files)):
            if not path.is_file() or hash_file(path) != stored["sha256"]:
                raise ArtifactError(f"{path}: missing or altered since it was made; {REBUILD}")

    def _score(
        self, queries: Aggregated, chosen: slice, alpha: float, tau: float, idf: bool
    ) -> npt.NDArray[np.float32]:
        """Scores of the chosen queries, of shape (chosen, images)."""
        weights = self.idf if idf else np.ones_like(self.idf)
        scores = np.zeros((chosen.stop - chosen.start, self.images))
        for segment in self.segments:
            _add_scores(segment, queries, chosen, weights, alpha, tau, scores)
        plain = [np.empty(0, np.float32), *(segment.norm for segment in self.segments)]
        norms = self.idf_norm if idf else np.concatenate(plain)
        totals = np.bincount(queries.images, weights=weights[queries.words], minlength=queries.count)
        scale = np.sqrt(totals[chosen, None]) * norms
        return np.divide(scores, scale, out=np.zeros_like(scores), where=scale > 0).astype(np.float32)


def _add_scores(
    segment: Segment,
    queries: Aggregated,
    chosen: slice,
    weights: npt.NDArray[np.float64],
    alpha: float,
    tau: float,
    scores: npt.NDArray[np.float64],
) -> None:
    vectors, stored = (
        array if queries.binary else array.view(np.uint16) for array in (queries.vectors, segment.vectors)
    )
    asked = Postings(queries.offsets[chosen.start : chosen.stop + 1], queries.words, vectors)
    held = Postings(segment.offsets, segment.images, stored)
    if queries.binary:
        table = similarities(queries.dim, alpha, tau)
        strays = score_codes(asked, held, weights, table, segment.base, segment.count, scores)
    else:
        place = (segment.base, segment.count, scores)
        strays = score_residuals(asked, held, weights, float(alpha), float(tau), *place)
    if strays:
        raise ArtifactError(f"{segment.folder / 'images.npy'}: names images beyond its {segment.count}; {REBUILD}")


def _rank(scores: npt.NDArray[np.float32], kept: int) -> npt.NDArray[np.int64]:
    """Ids of the `kept` highest scores, highest first, equal ones by id."""
    if kept == len(scores):
        return np.argsort(-scores, kind="stable")
    lowest = np.partition(scores, len(scores) - kept)[len(scores) - kept]
    candidates = np.flatnonzero(scores >= lowest)
    return candidates[np.argsort(-scores[candidates], kind="stable")[:kept]]


def build_index(
    folder: Path,
    parts: Iterable[Aggregated],
    layout: Layout,
    *,
    params: dict[str, Any],
    inputs: dict[str, str],
) -> Manifest:
    """Write an index of one segment into an existing (staged) folder.

    Args:
        parts: batches of postings; each continues where the images of the last one ended.
        params, inputs: what the index is made from (see `Manifest`).

    Raises:
        ArtifactError: a part does not fit the layout.
    """
    entry = write_segment(folder / "segment-0000", parts, layout)
    return seal_index(folder, [entry], layout, params=params, inputs=inputs)


def seal_index(
    folder: Path,
    entries: Sequence[dict[str, Any]],
    layout: Layout,
    *,
    params: dict[str, Any],
    inputs: dict[str, str],
) -> Manifest:
    """Weigh the words over segments that are already written, and write the manifest that makes them one index.

    Args:
        entries: what `write_segment` returned for each, in the order of their images.
        params, inputs: what the index is made from (see `Manifest`).
    """
    segments = _open_segments(folder, entries, layout)
    counts = sum((np.diff(segment.offsets) for segment in segments), np.zeros(layout.words, np.int64))
    idf = _weigh(counts, sum(segment.count for segment in segments))
    norms = [np.empty(0, np.float32)]
    for segment in segments:
        sums = np.zeros(segment.count)
        add_weights(segment.offsets, segment.images, idf, sums)
        norms.append(np.sqrt(sums).astype(np.float32))
    name = f"weights-{len(entries):04d}"
    files = write_arrays(folder / name, {"idf": idf, "norm": np.concatenate(norms)})
    facts = {
        **_statistics(entries, counts),
        "words": layout.words,
        "dim": layout.dim,
        "binary": layout.binary,
        "segments": list(entries),
        "weights": {"folder": name, "files": files},
    }
    manifest = Manifest("index", params, inputs, facts)
    write_manifest(folder, manifest)
    return manifest


def _weigh(counts: npt.NDArray[np.int64], images: int) -> npt.NDArray[np.float64]:
    """ω = log(images / postings)², and 1 for a word that no image uses, of shape (words,)."""
    used = counts > 0
    return np.where(used, np.log(max(images, 1) / np.where(used, counts, 1)) ** 2, 1.0)


def _statistics(entries: Sequence[dict[str, Any]], counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    images, postings = (sum(entry[key] for entry in entries) for key in ("images", "postings"))
    size = sum(file["bytes"] for entry in entries for file in entry["files"].values())
    return {
        "images": images,
        "postings": postings,
        "words_per_image": postings / max(1, images),
        "bytes_per_image": size / max(1, images),
        "empty_words": int((counts == 0).sum()),
    }


def open_index(folder: Path) -> Index:
    """Open an index: sizes and offsets are checked, which takes milliseconds; `Index.verify` checks the contents.

    Raises:
        ArtifactError: naming the missing or damaged file.
    """
    manifest = open_manifest(folder, "index")
    facts = manifest.facts
    try:
        layout = Layout(facts["words"], facts["dim"], facts["binary"])
        segments = _open_segments(folder, facts["segments"], layout)
        weights, files = folder / facts["weights"]["folder"], facts["weights"]["files"]
        idf = open_array(weights, "idf", files, np.float64, (layout.words,))
        norm = open_array(weights, "norm", files, np.float32, (facts["images"],))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts lack or misstate {error}; {REBUILD}") from None
    if sum(segment.count for segment in segments) != facts["images"]:
        raise ArtifactError(f"{folder / MANIFEST}: its segments do not hold {facts['images']} images; {REBUILD}")
    return Index(folder, manifest, layout, segments, idf, norm)


def _open_segments(folder: Path, entries: Sequence[dict[str, Any]], layout: Layout) -> tuple[Segment, ...]:
    bases = np.cumsum([0, *(entry["images"] for entry in entries)])
    return tuple(open_segment(folder, entry, int(base), layout) for entry, base in zip(entries, bases, strict=False))
