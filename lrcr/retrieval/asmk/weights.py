"""The weights of the visual words over all segments of an index, and the statistics of its manifest.

The folder `weights-<number>/` holds `idf` (words) float64, the weight ω of each word, and `norm` (stored images)
float32, √Σω over the words of each image. Images that were removed do not count.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.lists import Lists, read_ids
from lrcr.retrieval.asmk.packing import BLOCK
from lrcr.retrieval.asmk.segments import Layout, Segment
from lrcr.retrieval.asmk.stored import count_stored
from lrcr.runtime.jit import serial
from lrcr.storage.arrays import write_arrays


def measure_segments(
    folder: Path,
    segments: Sequence[Segment],
    entries: Sequence[dict[str, Any]],
    layout: Layout,
    number: int,
    order: npt.NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Write the weights of the words of an index, and return the facts for its manifest.

    Args:
        folder: of the index.
        entries: what `lrcr.retrieval.asmk.segments.write_segment` returned for each segment.
        number: of the new folder of weights.
        order: places of the images among the stored ones; None: all of them, as they are stored.
    """
    stored = sum(segment.count for segment in segments)
    images = stored if order is None else len(order)
    counts = _count_words(segments, layout, stored, order)
    idf = _inverse_document_frequency(counts, images)
    norms = [np.empty(0, np.float32)]
    for segment in segments:
        sums = np.zeros(segment.count)
        _add_weights(segment.lists, idf, sums)
        norms.append(np.sqrt(sums).astype(np.float32))
    name = f"weights-{number:04d}"
    files = write_arrays(folder / name, {"idf": idf, "norm": np.concatenate(norms)})
    return {
        **_statistics(entries, counts, images),
        "words": layout.words,
        "dim": layout.dim,
        "binary": layout.binary,
        "packed": layout.packed,
        "segments": list(entries),
        "weights": {"folder": name, "files": files},
    }


@serial
def _add_weights(lists: Lists, weights: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]) -> None:
    """Add Σω over the words of each image to `sums`, of shape (images of the segment,)."""
    ids = np.empty(BLOCK, np.uint32)
    for word in range(len(lists.offsets) - 1):
        block, end = lists.starts[word], lists.offsets[word + 1]
        for first in range(lists.offsets[word], end, BLOCK):
            own = ids[: min(BLOCK, end - first)]
            block = read_ids(lists, word, first, block, own)
            if block < 0:
                break
            for image in own:
                if image < len(sums):
                    sums[image] += weights[word]


def _count_words(
    segments: Sequence[Segment], layout: Layout, stored: int, order: npt.NDArray[Any] | None
) -> npt.NDArray[np.int64]:
    """The number of images of each word, of shape (words,)."""
    if order is None or len(order) == stored:
        return sum((np.diff(segment.lists.offsets) for segment in segments), np.zeros(layout.words, np.int64))
    places = np.full(stored, -1, np.int64)
    places[order] = 0
    return count_stored(segments, places, 1, layout.words)[1]


def _inverse_document_frequency(counts: npt.NDArray[np.int64], images: int) -> npt.NDArray[np.float64]:
    """ω = log(images / postings)², and 1 for a word without postings; of shape (words,)."""
    used = counts > 0
    return np.where(used, np.log(max(images, 1) / np.where(used, counts, 1)) ** 2, 1.0)


def _statistics(entries: Sequence[dict[str, Any]], counts: npt.NDArray[np.int64], images: int) -> dict[str, Any]:
    """Counts and statistics for the manifest; the size includes images that were removed.

    `descriptors_per_word`: mean number of descriptors that are summed to a posting (burstiness). `imbalance`: 1 if all
    words have equally many postings; the number of words if one word has all postings.
    """
    stored, assigned = (sum(entry[key] for entry in entries) for key in ("postings", "assigned"))
    size = sum(file["bytes"] for entry in entries for file in entry["files"].values())
    postings = int(counts.sum())
    return {
        "images": images,
        "postings": postings,
        "words_per_image": postings / max(1, images),
        "descriptors_per_word": assigned / max(1, stored),
        "bytes_per_image": size / max(1, images),
        "empty_words": int((counts == 0).sum()),
        "imbalance": float(len(counts) * (counts.astype(float) ** 2).sum() / max(1, postings) ** 2),
    }
