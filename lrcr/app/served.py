"""An index that is served: opened again when it has changed, with its images by id."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lrcr.api import open_index
from lrcr.app.errors import NotFoundError
from lrcr.data.dataset import ArchivedImage, image_files
from lrcr.models.factory import open_local_model
from lrcr.models.header import read_model_manifest
from lrcr.models.local import LocalModel
from lrcr.retrieval.layout import MODEL
from lrcr.retrieval.photos import PhotoIndex
from lrcr.storage.artifacts import MANIFEST


@dataclass(frozen=True)
class StoredPhoto:
    """An image of an index: its row there, its name, its file, and its size in pixels as a viewer shows it."""

    row: int
    name: str
    file: Path | ArchivedImage
    width: int
    height: int


class Opened:
    """One state of an index, which never changes.

    Args:
        index: open for search.
        generation: how often the index was opened before.
    """

    def __init__(self, index: PhotoIndex, generation: int) -> None:
        self.index, self.generation = index, generation

    @cached_property
    def table(self) -> pd.DataFrame:
        """The table of images; row k is image k of a ranking."""
        return self.index.searcher.images

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {int(image): row for row, image in enumerate(self.table["image"])}

    @cached_property
    def _names(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.table["name"])}

    @cached_property
    def hashes(self) -> dict[str, int]:
        """The id of an image with each SHA-256 of a file."""
        known = self.table[self.table["sha256"].notna()]
        return dict(zip(map(str, known["sha256"]), map(int, known["image"]), strict=True))

    def read_tables(self) -> None:
        """Read what the first request would read: tables by id, by name, by file and by hash."""
        _ = self._rows, self._names, self.ids, self.hashes

    @cached_property
    def files(self) -> list[Path | ArchivedImage]:
        """The file of each image, by row."""
        return list(image_files(Path(), self.table))

    @cached_property
    def ids(self) -> dict[Path | ArchivedImage, int]:
        """The id of the image that is read from each file."""
        return dict(zip(self.files, map(int, self.table["image"]), strict=True))

    @cached_property
    def local_model(self) -> LocalModel:
        """The model, for its maps.

        Raises:
            ArtifactError: it is of another kind.
        """
        return open_local_model(self.index.searcher.folder / MODEL)

    @cached_property
    def has_maps(self) -> bool:
        """Whether the index holds a model that has maps: one of kind local."""
        searcher = self.index.searcher
        return searcher.has_model and read_model_manifest(searcher.folder / MODEL).params["model"]["name"] == "local"

    def photo(self, image: int) -> StoredPhoto:
        """The image with an id.

        Raises:
            NotFoundError: there is none.
        """
        if image not in self._rows:
            raise NotFoundError(f"image {image}: not in the index; search again")
        return self._at(self._rows[image])

    def named(self, name: str) -> tuple[int, StoredPhoto]:
        """Id and image with a name that the index has."""
        row = self._names[name]
        return int(self.table["image"].iloc[row]), self._at(row)

    def _at(self, row: int) -> StoredPhoto:
        found = self.table.iloc[row]
        return StoredPhoto(row, str(found["name"]), self.files[row], int(found["width"]), int(found["height"]))


class ServedIndex:
    """An index folder that is served.

    Args:
        folder: of the index.
        photos, recipe, params, overrides: as for `lrcr.open_index`.

    Raises:
        LrcrError: it cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        photos: Sequence[Path] = (),
        recipe: str | None = None,
        params: Path | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._settings = {"photos": photos, "recipe": recipe, "params": params, "overrides": overrides}
        self._lock = threading.Lock()
        self._stamp, self._opened = self._read_stamp(), self._open(0)

    def current(self) -> Opened:
        """The index as it is now; opened again if it was changed.

        Raises:
            LrcrError: it cannot be opened.
        """
        with self._lock:
            stamp = self._read_stamp()
            if stamp and stamp != self._stamp:
                self._opened = self._open(self._opened.generation + 1)
                self._stamp = stamp
            return self._opened

    def _open(self, generation: int) -> Opened:
        return Opened(open_index(self.folder, **self._settings), generation)  # type: ignore[arg-type]

    def _read_stamp(self) -> tuple[int, ...]:
        """What tells one manifest from another; () while there is none."""
        try:
            found = (self.folder / MANIFEST).stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size
