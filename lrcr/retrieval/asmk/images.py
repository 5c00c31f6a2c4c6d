"""From the local descriptors of images to postings."""

from collections.abc import Sequence

import numpy as np

from lrcr.features.store import Descriptors, require_finite
from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook


def aggregate_images(
    images: Descriptors, codebook: Codebook, assignment: int, *, binary: bool, names: Sequence[str] | None = None
) -> Aggregated:
    """Assign each descriptor to its `assignment` nearest words, and aggregate the descriptors of each image.

    Args:
        names: of the images, for the error message; without them it gives their numbers.

    Raises:
        ArtifactError: descriptors and codebook differ in dimension, or a descriptor is not finite; the message names
            its image.
    """
    require_finite(images, names)
    descriptors = images.descriptors.astype(np.float32, copy=False)
    words = codebook.assign(descriptors, assignment)
    return aggregate(descriptors, words, images.offsets, codebook.centroids, binary=binary)
