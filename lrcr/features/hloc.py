"""Features files of hloc (Sarlin et al., CVPR 2019): local descriptors of images in HDF5, one group for each image.

- `descriptors` (D, N), float16 or float32
- `keypoints` (N, 2): x and y in pixels of the original image; (0, 0) is the centre of its first pixel
- `scores` (N,), or `keypoint_scores`, optional: larger is more certain; 1 where they are missing
- `scales` (N,), optional: of the image at which each keypoint was found; 1 where they are missing
- `image_size` (2,), optional: width and height in pixels
- `global_descriptor` (V,), of models of global vectors: written, and only counted (`vector_shape`)

An image name with slashes is a path of nested groups. Other datasets of a group are not read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.features.exchange import ImageFeatures, each_once
from lrcr.features.store import Descriptors, join
from lrcr.storage.artifacts import staged_file

FIRST_PIXEL = 0.5
"""x and y of the centre of the first pixel in `Descriptors.xy`, which counts from the corner of the image."""

_NAMES = {"scores": ("scores", "keypoint_scores")}
_WRITTEN = {"strength": "scores", "scale": "scales", "vector": "global_descriptor"}
_DTYPES = {"descriptors": (np.float16, np.float32)}
_MOST_PIXELS = 2**24  # float32 has all whole numbers up to this one
_MOST_NORM = 1e18  # squared distances of such descriptors are far below the largest float32


class FileImage(NamedTuple):
    """One image of a features file.

    Args:
        local: its local descriptors, strongest first.
        size: width and height; where the file does not give them, as far as the keypoints reach.
    """

    local: Descriptors
    size: tuple[int, int]


def has_groups(path: Path) -> bool:
    """Whether a file is HDF5 with groups, as features files are, and shards (`lrcr.features.store`) are not."""
    if not h5py.is_hdf5(path):
        return False
    with _open(path) as file:
        return any(isinstance(item, h5py.Group) for item in file.values())


def list_images(path: Path) -> list[str]:
    """The names of the images of a features file, sorted.

    Raises:
        ArtifactError: it is missing, damaged or not HDF5, holds no image, or has datasets outside of groups.
    """
    names: set[str] = set()

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.add(name.rpartition("/")[0])

    with _open(path) as file:
        file.visititems(visit)
    if not names:
        raise ArtifactError(f"{path}: holds no image; store a group for each image, as hloc does")
    if "" in names:
        raise ArtifactError(f"{path}: holds arrays outside of groups; store a group for each image, as hloc does")
    for name in names:
        if name != name.encode("utf-8", "replace").decode():
            raise ArtifactError(f"{path}: {name!r}: the name is not UTF-8; rename the group")
    return sorted(names)


def vector_shape(path: Path) -> list[int] | None:
    """Number and dimension of the global vectors of a file of vectors; None: it is to hold local descriptors.

    Raises:
        ArtifactError: as `list_images`, or an image has no vector, or one of another dimension.
    """
    names = list_images(path)
    with _open(path) as file:
        if "descriptors" in file[names[0]] or "global_descriptor" not in file[names[0]]:
            return None
        shapes = {_read(file[name], "global_descriptor", f"{path}: {name!r}").shape for name in names}
    if len(shapes) > 1:
        raise ArtifactError(f"{path}: vectors of shapes {sorted(shapes)}; describe all images alike")
    return [len(names), *shapes.pop()]


def read_features(
    path: Path, names: Sequence[str] | None = None, dim: int | None = None, index: Path | None = None
) -> Descriptors:
    """Read the local descriptors of images into memory; see `read_images`."""
    return join([image.local for image in read_images(path, names, dim, index)])


def read_images(
    path: Path, names: Sequence[str] | None = None, dim: int | None = None, index: Path | None = None
) -> Iterator[FileImage]:
    """Read images of a features file, one after the other.

    Args:
        names: of the images; None: all, sorted by name.
        dim: the dimensions that their descriptors must have; None: those of the first.
        index: that has descriptors of `dim` dimensions, for error messages.

    Raises:
        ArtifactError: as `list_images`, or an image is missing, has no descriptors or other dimensions, or its arrays
            have wrong shapes or types, or hold NaN, infinity or too large numbers; the message names it.
    """
    names = list_images(path) if names is None else names
    with _open(path) as file:
        for name in names:
            where = f"{path}: {name!r}"
            image = _read_image(file, name, where)
            found = image.local.descriptors.shape[1]
            if found != (dim := dim or found):
                wanted = dim if index is None else f"{dim} as in {index}"
                raise ArtifactError(
                    f"{where}: descriptors of {found} dimensions, not {wanted}; describe all images alike"
                )
            yield image


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
                    group["keypoints"] = array - np.float32(FIRST_PIXEL)
                elif name == "descriptors":
                    group["descriptors"] = np.ascontiguousarray(array.T)
                else:
                    group[_WRITTEN[name]] = array
            count += 1
    return count


def hash_features(local: Descriptors) -> str:
    """SHA-256 of the local descriptors of an image: equal for equal arrays of equal types."""
    digest = hashlib.sha256()
    for array in (local.descriptors, local.xy, local.strength):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; name an HDF5 file of local descriptors")
    if not h5py.is_hdf5(path):
        raise ArtifactError(f"{path}: not an HDF5 file; store local descriptors as hloc does")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, UnicodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); write it again") from None


def _read_image(file: h5py.File, name: str, where: str) -> FileImage:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise ArtifactError(f"{where}: no such image; `lrcr inspect {file.filename} --images` lists all")
    descriptors, keypoints = (_read(group, key, where) for key in ("descriptors", "keypoints"))
    scored = any(key in group for key in _NAMES["scores"])
    scores = _read(group, "scores", where) if scored else np.ones(descriptors.shape[-1:])
    shapes = descriptors.shape, keypoints.shape, scores.shape
    rows = shapes[0][-1] if len(shapes[0]) == 2 else -1
    if shapes[1:] != ((rows, 2), (rows,)):
        raise ArtifactError(
            f"{where}: descriptors {shapes[0]}, keypoints {shapes[1]} and scores {shapes[2]}; "
            "store them as (D, N), (N, 2) and (N,)"
        )
    if 0 in shapes[0]:
        raise ArtifactError(f"{where}: has no descriptors; leave the image out")
    _require_range(descriptors, keypoints, where)
    scales = _read(group, "scales", where) if "scales" in group else np.ones(rows)
    if scales.shape != (rows,):
        raise ArtifactError(f"{where}: scales {scales.shape} for {rows} keypoints; store one for each")
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    xy = keypoints.astype(np.float32)[order] + np.float32(FIRST_PIXEL)
    local = Descriptors(
        np.ascontiguousarray(descriptors.T[order]),
        scores.astype(np.float32)[order],
        xy,
        scales.astype(np.float32)[order],
        np.array([0, rows], np.int64),
    )
    return FileImage(local, _read_size(group, xy, where))


def _read(group: h5py.Group, key: str, where: str) -> npt.NDArray[Any]:
    """An array of numbers that are finite in float32."""
    item = next((group[name] for name in _NAMES.get(key, (key,)) if name in group), None)
    if not isinstance(item, h5py.Dataset):
        raise ArtifactError(f"{where}: has no {key}; store {key} of each image")
    if item.shape is None:
        raise ArtifactError(f"{where}: {key} are empty; store {key} of each image")
    if item.dtype not in _DTYPES.get(key, (item.dtype,)) or item.dtype.kind not in "fiu":
        raise ArtifactError(f"{where}: {key} are {item.dtype}; store float32")
    values: npt.NDArray[Any] = item[()]
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all()
    if not finite:
        held = "larger numbers than float32" if np.isfinite(values).all() else "NaN or infinity"
        raise ArtifactError(f"{where}: {key} hold {held}; describe the image again")
    return values


def _require_range(descriptors: npt.NDArray[Any], keypoints: npt.NDArray[Any], where: str) -> None:
    """Refuse descriptors (D, N) whose distances may overflow, and keypoints outside of any image."""
    if (np.abs(keypoints) > _MOST_PIXELS).any():
        raise ArtifactError(f"{where}: a keypoint is more than {_MOST_PIXELS} pixels away; store pixels of the image")
    with np.errstate(over="ignore"):
        squares = np.square(descriptors, dtype=np.float32).sum(axis=0)
    if squares.max() > _MOST_NORM**2:
        raise ArtifactError(f"{where}: the norm of a descriptor is over {_MOST_NORM:.0e}; divide all by a constant")


def _read_size(group: h5py.Group, xy: npt.NDArray[np.float32], where: str) -> tuple[int, int]:
    if "image_size" not in group:
        width, height = np.ceil(xy.max(axis=0)).clip(1)
    elif (size := _read(group, "image_size", where)).shape == (2,) and ((size >= 1) & (size <= _MOST_PIXELS)).all():
        width, height = size
    else:
        raise ArtifactError(f"{where}: image_size is {size.tolist()}; store width and height in pixels")
    return int(width), int(height)
