"""A dataset: tables of images, queries, relevance grades and training pairs.

`data/<name>/` contains these Parquet tables and `dataset.json`; the image files stay in the folder `root`.

- `images`: `image` (id = row number), `path` (below `root`), `width`, `height` (pixels as read), `label` (nullable),
  `mask` (optional column, nullable: path below `root` of an image of the same size, white where the landmark is
  visible, read by the same rules as the image; the hash `contents` must cover the masks)
- `queries`: `query` (id = row number), `path`, `x0 y0 x1 y1` (nullable box, pixels as read), `image` (nullable id)
- both, optional columns for images inside tar archives: `archive` (nullable; path below `root`), `offset`, `bytes`
  (position of the image file in the archive); `path` is then the name in the archive
- `relevance`: `query`, `image`, `grade` (easy, hard or junk)
- `pairs`: `query`, `positive` (image ids; for training)
- `regions` (optional): see `lrcr.data.regions`
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.decoding import ImageFile
from lrcr.data.regions import empty_regions, read_regions, write_regions
from lrcr.errors import ArtifactError, DatasetError
from lrcr.storage.artifacts import Manifest, hash_file, read_json, write_json

Ids = npt.NDArray[np.int64]

GRADES = ("easy", "hard", "junk")
_MAP_DEPTHS = {"gldv2": 100}  # kind of the benchmarks that measure mAP@k → k
DESCRIPTION = "dataset.json"
_ARCHIVED = {"archive": "string", "offset": "Int64", "bytes": "Int64"}
_OPTIONAL = {"images": ("mask", *_ARCHIVED), "queries": tuple(_ARCHIVED)}
_DTYPES: dict[str, dict[str, str]] = {
    "images": {
        "image": "int64",
        "path": "string",
        "width": "int64",
        "height": "int64",
        **dict.fromkeys(("label", "mask"), "string"),
        **_ARCHIVED,
    },
    "queries": {
        "query": "int64",
        "path": "string",
        **dict.fromkeys(("x0", "y0", "x1", "y1"), "float64"),
        "image": "Int64",
        **_ARCHIVED,
    },
    "relevance": {"query": "int64", "image": "int64", "grade": "string"},
    "pairs": {"query": "int64", "positive": "int64"},
}


@dataclass(frozen=True)
class ArchivedImage:
    """An image file inside an uncompressed tar archive: `bytes` bytes from `offset` on, with the name `name`."""

    archive: Path
    name: str
    offset: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """A stream of the bytes of the image file.

        Raises:
            OSError: the archive cannot be read, or ends before the image file does.
        """
        with self.archive.open(mode) as file:
            file.seek(self.offset)
            contents = file.read(self.bytes)
        if len(contents) < self.bytes:
            raise OSError(f"the archive ends before byte {self.offset + self.bytes}")
        return io.BytesIO(contents)


@dataclass(frozen=True)
class Photo:
    """One image to read.

    Args:
        path: an image file: a `Path`, an image file inside an archive, or a version of a photo.
        box: crop x0, y0, x1, y1 in pixels of the image, oriented if `orient`; None for the whole image.
        orient: whether EXIF orientation is applied.
        tolerate_truncated: whether a JPEG that lacks its last bytes is decoded as far as it goes.
        augmentation: seed of `lrcr.data.augmentation.augment`; None: the image as it is.
        regions: boxes, as `box`, that are described beside the whole image; None: the image has no regions.
        mirrored: whether left and right are exchanged.
    """

    path: ImageFile
    box: tuple[float, float, float, float] | None = None
    orient: bool = False
    tolerate_truncated: bool = False
    augmentation: int | None = None
    regions: tuple[tuple[float, float, float, float], ...] | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class Dataset:
    """The tables of one dataset (columns: see the module) and how its images are read.

    Args:
        name: its name in the params.
        root: folder to which the paths in the tables are relative.
        orient: whether EXIF orientation is applied (folders: yes; published benchmarks: no).
        fingerprint: identity of tables and image contents.
        tolerate_truncated: whether JPEGs that lack their last bytes are decoded.
        map_depth: k of mAP@k, if the benchmark measures it.
        regions: see `lrcr.data.regions`.
    """

    name: str
    root: Path
    orient: bool
    fingerprint: str
    images: pd.DataFrame
    queries: pd.DataFrame
    relevance: pd.DataFrame
    pairs: pd.DataFrame
    map_depth: int | None = None
    tolerate_truncated: bool = False
    regions: pd.DataFrame = field(default_factory=empty_regions)

    def __post_init__(self) -> None:
        """Check ids and grades of the tables."""
        for table in ("images", "queries"):
            ids = getattr(self, table).iloc[:, 0]
            if not ids.equals(pd.Series(range(len(ids)), name=ids.name, dtype="int64")):
                raise DatasetError(f"{self.name}: {table}.parquet: ids are not 0, 1, 2, …; make the dataset again")
        self._check_ids("relevance", "query", len(self.queries))
        self._check_ids("relevance", "image", len(self.images))
        self._check_ids("pairs", "query", len(self.images))
        self._check_ids("pairs", "positive", len(self.images))
        self._check_ids("queries", "image", len(self.images))
        unknown = set(self.relevance["grade"]) - set(GRADES)
        if unknown:
            raise DatasetError(f"{self.name}: relevance.parquet: grade {unknown.pop()!r}; use {', '.join(GRADES)}")

    def photos(self) -> list[Photo]:
        """The images of the database, by id."""
        return [self._photo(path) for path in image_files(self.root, self.images)]

    def photo(self, image: int) -> Photo:
        """The image of the database with the id `image`."""
        return self._photo(next(image_files(self.root, self.images[image : image + 1])))

    def query_photos(self) -> list[Photo]:
        """The queries, by id."""
        boxes = self.queries[["x0", "y0", "x1", "y1"]].itertuples(index=False, name=None)
        return [
            self._photo(path, None if pd.isna(box[0]) else box)
            for path, box in zip(image_files(self.root, self.queries), boxes, strict=True)
        ]

    def _photo(self, path: Path | ArchivedImage, box: tuple[float, float, float, float] | None = None) -> Photo:
        return Photo(path, box, self.orient, self.tolerate_truncated)

    def _check_ids(self, table: str, column: str, count: int) -> None:
        ids = getattr(self, table)[column].dropna()
        wrong = ids[(ids < 0) | (ids >= count)]
        if len(wrong):
            raise DatasetError(f"{self.name}: {table}.parquet: {column} {wrong.iloc[0]} does not exist (0…{count - 1})")


def image_files(root: Path, table: pd.DataFrame) -> Iterator[Path | ArchivedImage]:
    """The image file of each row of a table: below `root`, or inside an archive below `root`."""
    archive_path = cache(root.joinpath)
    rows = table.reindex(columns=["path", *_ARCHIVED])
    for path, archive, offset, size in rows.itertuples(index=False, name=None):
        yield root / path if pd.isna(archive) else ArchivedImage(archive_path(archive), path, int(offset), int(size))


def empty_table(table: str) -> pd.DataFrame:
    """The table `images`, `queries`, `relevance` or `pairs` with its columns and no rows."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _DTYPES[table].items()})


def write_dataset(
    folder: Path,
    *,
    name: str,
    kind: str,
    params: dict[str, Any],
    root: Path,
    orient: bool,
    contents: str,
    licence: str,
    tables: dict[str, pd.DataFrame],
    facts: dict[str, Any] | None = None,
) -> None:
    """Store the tables of a dataset and `dataset.json` in an existing folder, then open the dataset to check it.

    Args:
        params: what the dataset was made from, as plain values.
        root: folder of the images; stored relative to `folder` if it is inside it, otherwise absolute.
        orient: whether EXIF orientation is applied to the images.
        contents: a hash over the contents of all images and masks.
        licence: note on the rights in the images.
        tables: `images`, and `queries`, `relevance`, `pairs`, `regions` if the dataset has them.
        facts: more facts to store (refused files, for example); they do not affect the fingerprint.

    Raises:
        DatasetError: the tables are inconsistent.
    """
    hashes = {"contents": contents}
    for table in _DTYPES:
        frame = _typed(tables.get(table, empty_table(table)), table)
        if "archive" in frame and frame["archive"].isna().all():
            frame = frame.drop(columns=list(_ARCHIVED))
        frame.to_parquet(folder / f"{table}.parquet", index=False)
        hashes[table] = hash_file(folder / f"{table}.parquet")
    counts = {table: len(tables.get(table, ())) for table in _DTYPES}
    inside = root.resolve().is_relative_to(folder.resolve())
    stored_root = str(root.resolve().relative_to(folder.resolve())) if inside else str(root.resolve())
    facts = {"licence": licence, "root": stored_root, "orient": orient, "counts": counts, **(facts or {})}
    if "regions" in tables:
        facts["regions"] = write_regions(folder, tables["regions"])
    manifest = Manifest("dataset", {"name": name, "kind": kind, **params}, hashes, facts)
    write_json(folder / DESCRIPTION, manifest.as_dict())
    open_dataset(folder)


def open_dataset(folder: Path) -> Dataset:
    """Open the dataset stored in `folder`.

    Raises:
        ArtifactError: it is missing or damaged.
        DatasetError: its tables are inconsistent.
    """
    description = folder / DESCRIPTION
    manifest = Manifest.from_dict(read_json(description), description, "dataset")
    frames = {table: _read_table(folder / f"{table}.parquet", manifest.inputs.get(table)) for table in _DTYPES}
    return Dataset(
        name=str(manifest.params.get("name")),
        root=folder / str(manifest.facts.get("root")),
        orient=bool(manifest.facts.get("orient")),
        fingerprint=manifest.fingerprint,
        **frames,
        map_depth=_MAP_DEPTHS.get(str(manifest.params.get("kind"))),
        tolerate_truncated=bool(manifest.facts.get("truncated")),
        regions=read_regions(folder, manifest.facts.get("regions"), frames["images"]),
    )


def _read_table(path: Path, expected: str | None) -> pd.DataFrame:
    if not path.exists() or hash_file(path) != expected:
        raise ArtifactError(f"{path}: missing or altered since it was made; make the dataset again")
    return _typed(pd.read_parquet(path), path.stem)


def leave_one_out(images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make each image that shares its label a query: the other images of the label are easy, the query itself is junk.

    Args:
        images: a table `images`.

    Returns:
        The tables `queries` (without boxes) and `relevance`.
    """
    labelled = images.dropna(subset="label").reindex(columns=["image", "path", "label", *_ARCHIVED])
    shared = labelled[labelled["label"].duplicated(keep=False)]
    queries = shared.assign(query=range(len(shared)), **dict.fromkeys(("x0", "y0", "x1", "y1"), np.nan))
    pairs = queries[["query", "image", "label"]].merge(shared, on="label", suffixes=("_query", ""))
    pairs = pairs.sort_values(["query", "image"])
    relevance = pairs.assign(grade=np.where(pairs["image"] == pairs["image_query"], "junk", "easy"))
    return _typed(queries, "queries"), _typed(relevance, "relevance")


def cluster_ids(dataset: Dataset) -> Ids:
    """The cluster number of each image, of shape (n,): one per label, and one for each image without a label."""
    codes, labels = pd.factorize(dataset.images["label"])
    unlabelled = codes < 0
    return np.where(unlabelled, len(labels) + np.cumsum(unlabelled) - 1, codes).astype(np.int64)


def _typed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    missing = [column for column in _OPTIONAL.get(table, ()) if column not in frame]
    frame = frame.assign(**dict.fromkeys(missing))
    return frame[list(_DTYPES[table])].astype(_DTYPES[table]).reset_index(drop=True)
