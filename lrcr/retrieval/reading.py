"""Photos that a command is given, as rows of the table of an index; what the index knows is not decoded again."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.data.dataset import Photo
from lrcr.data.images import Box
from lrcr.datasets.ground_truth import read_ground_truth, read_labels
from lrcr.datasets.photos import Photos, StoredImage, inspect_photos, read_photos, warn_of
from lrcr.datasets.walking import photos_root
from lrcr.errors import DatasetError, ImageError, counted
from lrcr.progress import Progress
from lrcr.retrieval.writer import IndexWriter

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoReader:
    """How photos are read.

    Args:
        progress: is told what is done.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
    """

    progress: Progress
    tolerate_truncated: bool = False

    def photo(self, file: Path, regions: tuple[Box, ...] | None) -> Photo:
        """A photo to describe."""
        return Photo(file, orient=True, tolerate_truncated=self.tolerate_truncated, regions=regions)

    def files(self, root: Path, files: Mapping[str, Path], known: Mapping[str, StoredImage], title: str) -> Photos:
        """Decode and hash some files below a folder; see `lrcr.datasets.photos.inspect_photos`."""
        return inspect_photos(root, files, known, title, self.progress, tolerate_truncated=self.tolerate_truncated)

    def given(self, path: Path, prefix: str, writer: IndexWriter) -> pd.DataFrame:
        """A folder of photos, or one photo: named as in the folder of the index that holds it, if there is one.

        Raises:
            DatasetError: it does not exist, or as `read_photos`.
            ImageError: the photo cannot be decoded.
        """
        if path.is_dir():
            return self._inside(path, prefix, writer)
        if not path.exists():
            raise DatasetError(f"{path}: no such file or folder; name photos")
        root, inside = _place(path.absolute().parent, writer.roots)
        name = inside + path.name
        photos = self.files(root, {name: root / name}, {}, path.name)
        if not photos.accepted:
            raise ImageError(f"{path}: {photos.refused.get(name, 'not an image')}; leave it out")
        warn_of(photos)
        return tabulate(root, photos.accepted, [name], [prefix + name], [None])

    def _inside(self, path: Path, prefix: str, writer: IndexWriter) -> pd.DataFrame:
        """A folder of photos, named as `given` says."""
        root, inside = _place(photos_root(path).absolute(), writer.roots)
        stored = stored_images(of_root(writer, writer.roots.index(str(root)))) if str(root) in writer.roots else {}
        known = {path.removeprefix(inside): image for path, image in stored.items() if path.startswith(inside)}
        found = self.folder(path, known)
        if not prefix:
            found = outside_other_folders(found, photos_root(path).resolve(), writer.roots)
        paths = inside + found["path"]
        return found.assign(root=str(root), path=paths, name=prefix + paths)

    def folder(self, path: Path, known: Mapping[str, StoredImage]) -> pd.DataFrame:
        """The database of a folder of photos, as `lrcr index` reads and names it; raises as `read_photos`."""
        photos = read_photos(path, known=known, tolerate_truncated=self.tolerate_truncated, progress=self.progress)
        labels = read_labels(path / "labels.csv", photos)
        truth = read_ground_truth(path / "ground_truth.json", photos)
        warn_of(photos)
        paths = (truth and truth.database) or list(photos.accepted)
        return tabulate(photos.root.resolve(), photos.accepted, paths, paths, list(map(labels.get, paths)))


def _place(folder: Path, roots: Sequence[str]) -> tuple[Path, str]:
    """The folder of the index that holds a folder, or this folder itself, and the way from one to the other.

    The way ends with a slash, if it is not empty; links in it are kept.
    """
    for parent in (folder, *folder.parents):
        way = folder.relative_to(parent)
        if str(parent.resolve()) in roots and ".." not in way.parts:
            return parent.resolve(), f"{way.as_posix()}/".removeprefix("./")
    return folder.resolve(), ""


def outside_other_folders(found: pd.DataFrame, folder: Path, roots: Sequence[str]) -> pd.DataFrame:
    """The photos of a folder that lie in no other folder of the index: there they are named already.

    Args:
        found: rows of `tabulate`, whose paths are relative to the folder.
        folder: resolved.
        roots: the folders of the index.
    """
    for root in (root for root in roots if folder in Path(root).parents):
        way = f"{Path(root).relative_to(folder).as_posix()}/"
        inside = np.array([path.startswith(way) for path in found["path"]], bool)
        if inside.any():
            left = f"{counted(int(inside.sum()), 'photo')} in {root}"
            _log.warning("%s: %s left out; name that folder of the index to bring in new ones", folder, left)
        found = found[~inside]
    return found


def of_root(writer: IndexWriter, number: int) -> pd.DataFrame:
    """The images of one folder of photos; not those in archives."""
    images = writer.images
    return images[(images["root"] == number) & images["archive"].isna()]


def stored_images(rows: pd.DataFrame) -> dict[str, StoredImage]:
    """What an index knows of the files of some images, by path; it has their sizes as shown only."""
    known = rows.loc[rows["sha256"].notna(), ["path", "width", "height", "sha256"]]
    return {
        path: StoredImage(width, height, sha256, stored=(width, height), truncated=False)
        for path, width, height, sha256 in known.itertuples(index=False, name=None)
    }


def tabulate(
    root: Path,
    accepted: Mapping[str, StoredImage],
    paths: Iterable[str],
    names: Iterable[str],
    labels: Iterable[str | None],
) -> pd.DataFrame:
    """Rows of the table of images (`lrcr.retrieval.images`), with the folder itself in `root`, not its number."""
    sizes = pd.DataFrame([accepted[path][:3] for path in paths], columns=["width", "height", "sha256"])
    columns = {"name": list(names), "root": str(root), "path": list(paths), "label": list(labels)}
    return pd.DataFrame({**columns, **sizes}).astype({"name": "string", "path": "string", "label": "string"})
