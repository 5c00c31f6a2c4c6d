"""From the local descriptors of images to postings."""

from collections.abc import Sequence

import numpy as np

from lrcr.features.store import Descriptors, require_finite
from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.regional import Integers, aggregate_regions


def aggregate_images(
    images: Descriptors, codebook: Codebook, assignment: int, *, binary: bool, names: Sequence[str] | None = None
) -> Aggregated:
    """Assign each descriptor to its `assignment` nearest words, and aggregate the descriptors of each image.

    Images with regions are aggregated by them.

    Args:
        names: of the images, for the error message; without them it gives their numbers.

    Raises:
        ArtifactError: descriptors and codebook differ in dimension, or a descriptor is not finite; the message names
            its image.
    """
    require_finite(images, names)
    descriptors = images.descriptors.astype(np.float32, copy=False)
    return aggregate_assigned(images, codebook.assign(descriptors, assignment), codebook, binary=binary)


def aggregate_assigned(images: Descriptors, words: Integers, codebook: Codebook, *, binary: bool) -> Aggregated:
    """Aggregate the descriptors of each image; words: those of each descriptor, of shape (N, A)."""
    given = (images.descriptors, words, images.offsets)
    if images.region is None or images.region_counts is None:
        return aggregate(*given, codebook.centroids, binary=binary)
    return aggregate_regions(*given, images.region, images.region_counts, codebook.centroids, binary=binary)
