"""Photos that a command is given, as rows of the table of an index; what the index knows is not decoded again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lrcr.data.dataset import Photo
from lrcr.data.images import Box
from lrcr.datasets.ground_truth import read_ground_truth, read_labels
from lrcr.datasets.photos import Photos, StoredImage, inspect_photos, read_photos, warn_of
from lrcr.datasets.walking import photos_root
from lrcr.errors import DatasetError, ImageError
from lrcr.progress import Progress
from lrcr.retrieval.writer import IndexWriter


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
        """A folder of photos, or one photo: in a folder of the index, or in its own.

        Raises:
            DatasetError: it does not exist, or as `read_photos`.
            ImageError: the photo cannot be decoded.
        """
        if path.is_dir():
            root = str(photos_root(path).resolve())
            known = stored_images(of_root(writer, writer.roots.index(root))) if root in writer.roots else {}
            return self.folder(path, prefix, known)
        if not path.exists():
            raise DatasetError(f"{path}: no such file or folder; name photos")
        root_of_file, name = _place(path.absolute(), writer.roots)
        file = root_of_file / name
        photos = self.files(root_of_file, {name: file}, {}, path.name)
        if not photos.accepted:
            raise ImageError(f"{path}: {photos.refused.get(name, 'not an image')}; leave it out")
        warn_of(photos)
        return tabulate(root_of_file, photos.accepted, [name], [prefix + name], [None])

    def folder(self, path: Path, prefix: str, known: Mapping[str, StoredImage]) -> pd.DataFrame:
        """The database of a folder of photos, as `lrcr index` reads it; raises as `read_photos`."""
        photos = read_photos(path, known=known, tolerate_truncated=self.tolerate_truncated, progress=self.progress)
        labels = read_labels(path / "labels.csv", photos)
        truth = read_ground_truth(path / "ground_truth.json", photos)
        warn_of(photos)
        paths = (truth and truth.database) or list(photos.accepted)
        names = [prefix + path for path in paths]
        return tabulate(photos.root.resolve(), photos.accepted, paths, names, list(map(labels.get, paths)))


def _place(file: Path, roots: Sequence[str]) -> tuple[Path, str]:
    """The folder of the index in which a file is, and its name there, in which links are kept; or its own folder."""
    for folder in file.parents:
        if str(folder.resolve()) in roots:
            return folder.resolve(), file.relative_to(folder).as_posix()
    return file.parent.resolve(), file.name


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
