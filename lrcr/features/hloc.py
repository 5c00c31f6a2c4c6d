"""The files of features of hloc (Sarlin et al., CVPR 2019): HDF5 with a group for each image, named like it.

A group holds `keypoints` (N, 2), `descriptors` (D, N), a column for each keypoint, `scores` (N,), `scales` (N,) and
`image_size` (width, height) of an image, or its `global_descriptor` (V,). The centre of the first pixel is at 0, not
its left edge: keypoints are half a pixel less than in lrcr. Slashes in a name make groups in groups.
"""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from lrcr.features.exchange import ImageFeatures, each_once
from lrcr.storage.artifacts import staged_file

_NAMES = {"strength": "scores", "scale": "scales", "vector": "global_descriptor"}


def write_features(file: Path, images: Iterable[ImageFeatures]) -> int:
    """Write the features of images, atomically.

    Returns:
        The number of images.

    Raises:
        ArtifactError: there are no images, or a name occurs twice.
    """
    count = 0
    with staged_file(file) as temporary, h5py.File(temporary, "w") as opened:
        for image in each_once(images, file):
            group = opened.create_group(image.name)
            group["image_size"] = np.array([image.width, image.height])
            for name, array in image.arrays.items():
                if name == "xy":
                    group["keypoints"] = array - np.float32(0.5)
                elif name == "descriptors":
                    group["descriptors"] = np.ascontiguousarray(array.T)
                else:
                    group[_NAMES[name]] = array
            count += 1
    return count
