"""The arrays of an index: memory-mapped files whose sizes are checked on opening and whose hashes on demand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file, staged_folder

REBUILD = "build the index again"


def write_arrays(folder: Path, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Write each array as `<name>.npy` into a new folder; returns the size and SHA-256 of each file."""
    with staged_folder(folder) as staged:
        for name, array in arrays.items():
            np.save(staged / f"{name}.npy", array)
        return hash_files(staged)


class GrowingArray:
    """An .npy file of two dimensions that is written some rows at a time; the file is complete when it is closed."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.columns = self._rows = 0
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows, each of as many values as those before."""
        self.columns, self._rows = rows.shape[1], self._rows + len(rows)
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def _write_header(self) -> None:
        """NumPy pads the header, so that its length does not depend on the number of rows."""
        shape = (self._rows, self.columns)
        descr = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, descr)

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()


def hash_files(folder: Path) -> dict[str, Any]:
    """Size and SHA-256 of each file of a folder."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for path in sorted(folder.iterdir())}


def open_array(
    folder: Path, name: str, files: dict[str, Any], dtype: Any, shape: tuple[int, ...] | None
) -> npt.NDArray[Any]:
    """Map `<name>.npy` of a folder into memory, read-only.

    Args:
        files: size and SHA-256 of each file, as `write_arrays` returned them.
        shape: the expected shape; None: one dimension, of any length above 0.

    Raises:
        ArtifactError: the file's size, or the array's type or shape, is not as expected.
    """
    path = folder / f"{name}.npy"
    size = path.stat().st_size if path.is_file() else None
    if size != files[path.name]["bytes"]:
        expected = files[path.name]["bytes"]
        raise ArtifactError(
            f"{path}: {'missing' if size is None else f'{size} bytes'}, not {expected} bytes; {REBUILD}"
        )
    try:
        array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a readable array ({error}); {REBUILD}") from None
    if shape is None:
        shape = (max(1, array.size),)
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} of shape {shape}"
        raise ArtifactError(f"{path}: {array.dtype} of shape {array.shape}, not {expected}; {REBUILD}")
    return array


def open_order(root: Path, facts: dict[str, Any], stored: int) -> npt.NDArray[np.int64] | None:
    """The places of the images of an index among those that it stores, in the order in which it numbers them.

    An image that was removed has no place. None: the images are numbered as they are stored, and none was removed.

    Args:
        root: folder of the index.
        facts: of its manifest.
        stored: number of stored images.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    if "view" not in facts:
        return None
    folder = root / facts["view"]["folder"]
    order = open_array(folder, "order", facts["view"]["files"], np.uint32, (facts["images"],))
    if len(order) and order.max() >= stored:
        raise ArtifactError(f"{folder / 'order'}.npy: names image {order.max()} of {stored}; {REBUILD}")
    return order.astype(np.int64)


def listed_folders(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Every entry of the facts of a manifest that lists the files of a folder (see `verify_arrays`)."""
    values = [one for value in facts.values() for one in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, dict) and "files" in value]


def verify_arrays(root: Path, entries: Iterable[dict[str, Any]], progress: Progress = SILENT) -> None:
    """Compare every file of some folders below `root` with its hash.

    Args:
        entries: for each folder its name (`folder`) and what `write_arrays` returned (`files`).

    Raises:
        ArtifactError: a file is missing or was altered; the message names it.
    """
    files = [(root / entry["folder"] / name, stored) for entry in entries for name, stored in entry["files"].items()]
    for path, stored in progress.over(files, "verify", len(files)):
        if not path.is_file() or hash_file(path) != stored["sha256"]:
            raise ArtifactError(f"{path}: missing or altered since it was made; {REBUILD}")
