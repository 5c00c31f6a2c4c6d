"""Changing the local descriptors that an index owns, as `lrcr.retrieval.writer` changes its segments."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.contents import listed_names
from lrcr.retrieval.local import open_local, write_local
from lrcr.retrieval.local_encoder import LocalEncoder, LocalPart
from lrcr.retrieval.numbered import Entry, copy_entries, first_free, first_to_join


class LocalWriter:
    """Changes the local descriptors of an index; does nothing if the index owns none.

    Args:
        folder: of the index.
        facts: of its manifest.
        encoder: of the local descriptors; None if the index owns none.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], encoder: LocalEncoder | None) -> None:
        self.folder, self.encoder = folder, encoder
        self._entries: list[Entry] = list(facts.get("local", []))
        self._number = first_free(listed_names(facts))

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {} if self.encoder is None else {"local": self._entries}

    def append(self, parts: Iterable[LocalPart], images: int) -> None:
        """Add those of new images; raises as `write_local`."""
        if self.encoder is None:
            return
        first = first_to_join(self._entries, images)
        entries = [*self._entries, self._write(parts, images, self.encoder)]
        if first < len(self._entries):
            small = open_local(self.folder, entries[first:], self.encoder)
            joined = self._write(small.parts(), len(small), self.encoder)
            entries = [*entries[:first], joined]
        self._entries = entries

    def copy(self, other: Path, facts: dict[str, Any], stored: npt.NDArray[np.int64]) -> None:
        """Add those of some of the stored images of another index, which has these facts."""
        if self.encoder is None or not len(stored):
            return
        theirs = facts["local"]
        if len(stored) == sum(entry["images"] for entry in theirs):
            copied = copy_entries(self.folder, other, theirs, self._number)
            self._entries, self._number = self._entries + copied, self._number + len(copied)
        else:
            chosen = open_local(other, theirs, self.encoder, stored)
            self._entries = [*self._entries, self._write(chosen.parts(), len(stored), self.encoder)]

    def rewrite(self, order: npt.NDArray[np.int64]) -> None:
        """Keep those of some stored images, in a new order."""
        if self.encoder is not None:
            kept = open_local(self.folder, self._entries, self.encoder, order)
            self._entries = [self._write(kept.parts(), len(order), self.encoder)]

    def _write(self, parts: Iterable[LocalPart], images: int, encoder: LocalEncoder) -> Entry:
        entry = write_local(self.folder / f"local-{self._number:04d}", parts, images, encoder)
        self._number += 1
        return entry
