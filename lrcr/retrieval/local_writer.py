"""Changing the local descriptors that an index owns, as `lrcr.retrieval.writer` changes its segments."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.contents import listed_names
from lrcr.retrieval.local import LocalPart, open_local, write_local
from lrcr.retrieval.numbered import Entry, copy_entries, first_free, first_to_join


class LocalWriter:
    """Changes the local descriptors of an index; does nothing if the index owns none.

    Args:
        folder: of the index.
        facts: of its manifest.

    Attributes:
        owns: whether the index owns local descriptors.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.owns = "local" in facts
        self._entries: list[Entry] = list(facts.get("local", []))
        self._number = first_free(listed_names(facts))

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {"local": self._entries} if self.owns else {}

    def append(self, parts: Iterable[LocalPart], images: int) -> None:
        """Add those of new images; raises as `write_local`."""
        if not self.owns:
            return
        first = first_to_join(self._entries, images)
        self._entries.append(self._write(parts, images))
        if first < len(self._entries) - 1:
            small = self._entries[first:]
            joined = self._write(open_local(self.folder, small).parts(), sum(entry["images"] for entry in small))
            self._entries = [*self._entries[:first], joined]

    def copy(self, other: Path, facts: dict[str, Any], stored: npt.NDArray[np.int64]) -> None:
        """Add those of some of the stored images of another index, which has these facts."""
        if not self.owns or not len(stored):
            return
        theirs = facts["local"]
        if len(stored) == sum(entry["images"] for entry in theirs):
            copied = copy_entries(self.folder, other, theirs, self._number)
            self._entries, self._number = self._entries + copied, self._number + len(copied)
        else:
            self._entries = [*self._entries, self._write(open_local(other, theirs, stored).parts(), len(stored))]

    def rewrite(self, order: npt.NDArray[np.int64]) -> None:
        """Keep those of some stored images, in a new order."""
        if self.owns:
            self._entries = [self._write(open_local(self.folder, self._entries, order).parts(), len(order))]

    def _write(self, parts: Iterable[LocalPart], images: int) -> Entry:
        entry = write_local(self.folder / f"local-{self._number:04d}", parts, images)
        self._number += 1
        return entry
