"""The numbered folders of an index, which are never changed: names, copies, and which of them are joined.

Each has an entry in the manifest: its name (`folder`), its number of `images`, and its `files`.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.storage.artifacts import staged_folder

Entry = dict[str, Any]


def first_free(names: Iterable[str]) -> int:
    """The first number that is larger than every one in some names of files and folders."""
    return 1 + max(int(number) for name in names for number in re.findall(r"-(\d+)", f"{name}-0"))


def copy_entries(folder: Path, other: Path, entries: Iterable[Entry], number: int) -> list[Entry]:
    """Copy folders of another index, numbered from `number`; returns their entries."""
    copied = []
    for own_number, entry in enumerate(entries, number):
        name = re.sub(r"\d+", f"{own_number:04d}", entry["folder"])
        with staged_folder(folder / name) as staged:
            shutil.copytree(other / entry["folder"], staged, dirs_exist_ok=True)
        copied.append({**entry, "folder": name})
    return copied


def living(entries: Sequence[Entry], present: npt.NDArray[np.bool_]) -> tuple[list[Entry], npt.NDArray[np.int64]]:
    """The folders that hold a present image, and the places of all their images among the stored ones."""
    owner = np.repeat(np.arange(len(entries)), [entry["images"] for entry in entries])
    used = np.unique(owner[present])
    return [entries[place] for place in used], np.flatnonzero(np.isin(owner, used))


def first_to_join(entries: Sequence[Entry], images: int, most: float = inf) -> int:
    """The place of the first of the last folders that are joined with new images; `len(entries)`: there is none.

    Each of them holds no more images than all after it. So the number of folders grows with the logarithm of the number
    of images, as does the number of times that an image is written again.

    Args:
        images: number of new images.
        most: bytes of a folder that is still joined.
    """
    first = len(entries)
    while first and entries[first - 1]["images"] <= images and _size(entries[first - 1]) <= most:
        first -= 1
        images += entries[first]["images"]
    return first


def _size(entry: Entry) -> int:
    """Bytes of a folder."""
    return sum(file["bytes"] for file in entry["files"].values())
