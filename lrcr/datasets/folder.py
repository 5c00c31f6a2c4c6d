"""A user's folder of photos as a dataset. The folder is read, never written.

    photos/images/**            the images, recognised by content; hidden files and folders are left alone
    photos/labels.csv           optional: columns `image,label`; an empty label is no label
    photos/ground_truth.json    optional: {"database": [names]?, "queries": [{"image": name, "bbox": [x0, y0, x1, y1]?,
                                "easy": [names]?, "hard": [names]?, "junk": [names]?}]}

Names are relative to `images/`, with `/` between folders; without a folder `images/` they are relative to the user's
folder itself. They are UTF-8 and case counts. A bbox is in pixels of the stored, unrotated image; queries are counted
from 0.

The database holds the names of `database` in the given order, without that key every image sorted by name. Without
`ground_truth.json` each image whose label is shared is a query: the others of its label are easy, itself is junk. A
graded query that is in the database is junk for itself too.
"""

import csv
import difflib
import logging
import os
import reprlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from lrcr.artifacts import hash_file
from lrcr.datasets.dataset import GRADES, hash_contents, write_dataset
from lrcr.errors import DatasetError, ImageError
from lrcr.images import UnknownFormatError, load_image, round_box
from lrcr.params import FolderParams, Section
from lrcr.progress import Track, silent

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")


class Photo(NamedTuple):
    """An image that can be decoded: pixels as stored, SHA-256 of the file."""

    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Photos:
    """The files below `root`, by name: accepted images, refused ones with the reason, and files that are no images."""

    root: Path
    accepted: dict[str, Photo]
    refused: dict[str, str]
    skipped: frozenset[str]

    def require(self, name: str, where: str) -> None:
        """Raise DatasetError where `name` is not an accepted image."""
        if name in self.accepted:
            return
        if name in self.refused:
            raise DatasetError(f"{where} names {name!r}, which was refused: {self.refused[name]}")
        if name in self.skipped:
            raise DatasetError(f"{where} names {name!r}, which is hidden or not an image; leave it out")
        hint = "".join(f"; did you mean {near!r}?" for near in difflib.get_close_matches(name, self.accepted, n=1))
        raise DatasetError(f"{where} names {name!r}, which is not under {self.root.resolve().name}/{hint}")


class GradedQuery(Section):
    """One query of `ground_truth.json`."""

    image: str
    bbox: list[float] | None = None
    easy: tuple[str, ...] = ()
    hard: tuple[str, ...] = ()
    junk: tuple[str, ...] = ()


class GroundTruth(Section):
    """The file `ground_truth.json`."""

    database: Annotated[list[str], Field(min_length=1)] | None = None
    queries: list[GradedQuery]


def make_folder(folder: Path, name: str, params: FolderParams, *, track: Track = silent) -> None:
    """Read the user's folder `params.path` and write the dataset `name` into the existing, empty `folder`.

    Refused images and their reasons stand in the facts of `dataset.json`, beside the number of files skipped.

    Raises:
        DatasetError: there are no images, or labels or ground truth are malformed or contradict the images.
    """
    source = Path(params.path).expanduser()
    photos = read_photos(source, track=track)
    labels = read_labels(source / "labels.csv", photos)
    file = source / "ground_truth.json"
    truth = read_ground_truth(file, photos)
    if photos.refused:
        first = next(iter(photos.refused.items()))
        logger.warning("%s: %d files refused; the first: %r: %s", photos.root, len(photos.refused), *first)
    database = (truth and truth.database) or list(photos.accepted)
    rows = [(image, path, *photos.accepted[path][:2], labels.get(path)) for image, path in enumerate(database)]
    images = pd.DataFrame(rows, columns=["image", "path", "width", "height", "label"])
    graded = _leave_one_out(images) if truth is None else _graded(truth, database, photos, file)
    write_dataset(
        folder,
        name=name,
        kind="folder",
        params={},  # contents decide the fingerprint, not the place where they lie
        root=photos.root,
        orient=True,
        contents=hash_contents({image: photo.sha256 for image, photo in photos.accepted.items()}),
        licence="the user's own folder; whoever shares it answers for the rights in its images",
        tables={"images": images, **graded},
        facts={"source": params.path, "refused": photos.refused, "skipped": len(photos.skipped)},
    )


def read_photos(path: Path, *, track: Track = silent) -> Photos:
    """Decode and hash every image below a user's folder, sorted by name.

    Raises:
        DatasetError: the folder does not exist or holds no image.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; name a folder of images")
    root = path / "images" if (path / "images").is_dir() else path
    files = {file.relative_to(root).as_posix(): file for file in _walk(root, frozenset())}
    names = sorted(files)
    accepted, refused, skipped = {}, {}, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_inspect, [files[name] for name in names])
        for name, result in zip(names, track(results, f"reading {path.name}", len(names)), strict=True):
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            if result is None:
                skipped.add(shown)
            elif isinstance(result, str):
                refused[shown] = result
            elif shown != name:
                refused[shown] = "its name is not UTF-8; rename it"
            else:
                accepted[name] = result
    if not accepted:
        raise DatasetError(f"{root}: no images among {len(files)} files ({len(refused)} refused); put images there")
    return Photos(root, accepted, refused, frozenset(skipped))


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """All files below a folder, links followed; a link to a folder above itself ends there."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = [(entry, entry.is_dir()) for entry in folder.iterdir()]
    except OSError:
        entries = []
        yield folder  # inspected like a file, it is refused with a reason
    for entry, is_folder in entries:
        if not is_folder:
            yield entry
        elif not entry.name.startswith("."):
            yield from _walk(entry, above | {real})


def _inspect(file: Path) -> Photo | str | None:
    """An accepted photo, the reason why an image is refused, or None for what is not an image."""
    if file.name.startswith("."):
        return None
    if not file.is_file():
        return "not a regular file: a broken link, a pipe or a folder that cannot be listed"
    try:
        width, height = load_image(file, orient=False).full_size
    except ImageError as error:
        if isinstance(error, UnknownFormatError) and file.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        return str(error).removeprefix(f"{file}: ")
    return Photo(width, height, hash_file(file))


def read_labels(file: Path, photos: Photos) -> dict[str, str | None]:
    """Read `labels.csv`: image name → label, None for an empty one. A file that is not there labels nothing.

    Raises:
        DatasetError: it is not CSV with these columns, names an image that is not there, or labels one twice.
    """
    labels: dict[str, str | None] = {}
    if not file.exists():
        return labels
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            missing = {"image", "label"} - set(rows.fieldnames or ())
            if missing:
                raise DatasetError(f"{file}: no column {min(missing)!r}; let the first line be image,label")
            for row in rows:
                _add_label(labels, row, photos, f"{file}: line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); store it as CSV in UTF-8") from None
    return labels


def _add_label(labels: dict[str, str | None], row: dict[str, Any], photos: Photos, where: str) -> None:
    if None in row or None in row.values():
        raise DatasetError(f"{where}: not as many fields as columns; put names with commas in quotes")
    image, label = row["image"], row["label"] or None
    photos.require(image, where)
    if labels.setdefault(image, label) != label:
        raise DatasetError(f"{where} labels {image!r} {label!r}, an earlier line {labels[image]!r}; keep one")


def read_ground_truth(file: Path, photos: Photos) -> GroundTruth | None:
    """Read and check `ground_truth.json`; None where there is no such file.

    Raises:
        DatasetError: it is not JSON of this form, or a name, a box or a grade contradicts the images.
    """
    if not file.exists():
        return None
    try:
        truth = GroundTruth.model_validate_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); store it as JSON in UTF-8") from None
    except ValidationError as error:
        raise DatasetError(f"{file}: {_explain(dict(error.errors()[0]))}") from None
    for name, count in Counter(truth.database).items():
        photos.require(name, f"{file}: database")
        if count > 1:
            raise DatasetError(f"{file}: database names {name!r} {count} times; keep one")
    return truth


def _explain(problem: dict[str, Any]) -> str:
    """One line for a problem that pydantic found: place, value, remedy."""
    place = ".".join(map(str, problem["loc"])).replace("queries.", "query ", 1)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] in ("json_invalid", "missing"):
        return f"{place}: {message}; mend it there".removeprefix(": ")
    if problem["type"] == "extra_forbidden":
        known = GradedQuery if problem["loc"][0] == "queries" else GroundTruth
        return f"{place} is not a known key; use {', '.join(known.model_fields)}"
    return f"{place or 'the file'} holds {reprlib.repr(problem['input'])}: {message}"


def _graded(truth: GroundTruth, database: list[str], photos: Photos, file: Path) -> dict[str, pd.DataFrame]:
    """Queries and relevance as the ground truth in `file` gives them, checked."""
    ids = {name: image for image, name in enumerate(database)}
    queries: list[tuple[Any, ...]] = []
    relevance: list[tuple[int, int, str]] = []
    for number, query in enumerate(truth.queries):
        where = f"{file}: query {number}"
        photos.require(query.image, where)
        box = (None,) * 4 if query.bbox is None else _check_box(query.bbox, photos.accepted[query.image], where)
        queries.append((number, query.image, *box, ids.get(query.image)))
        grades = _check_grades(query, ids, photos, where)
        relevance.extend((number, ids[name], grade) for name, grade in grades.items())
    return {
        "queries": pd.DataFrame(queries, columns=["query", "path", "x0", "y0", "x1", "y1", "image"]),
        "relevance": pd.DataFrame(relevance, columns=["query", "image", "grade"]),
    }


def _check_box(box: list[float], photo: Photo, where: str) -> list[float]:
    try:
        round_box(box, (photo.width, photo.height))
    except ImageError as error:
        raise DatasetError(f"{where}: {error}") from None
    return box


def _check_grades(query: GradedQuery, ids: dict[str, int], photos: Photos, where: str) -> dict[str, str]:
    """The grade of each name that a query lists, and junk for its own image where that is in the database."""
    grades: dict[str, str] = {}
    for grade in GRADES:
        for name in getattr(query, grade):
            photos.require(name, where)
            if name not in ids:
                raise DatasetError(f"{where} names {name!r}, which is not in the database; add it there")
            if name in grades:
                raise DatasetError(f"{where} names {name!r} as {grades[name]} and as {grade}; keep one")
            grades[name] = grade
    if query.image in ids and grades.setdefault(query.image, "junk") != "junk":
        raise DatasetError(f"{where} names its own image {query.image!r} as {grades[query.image]}; it can only be junk")
    return grades


def _leave_one_out(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each image of a label that at least two share, as a query for the others."""
    labelled = images.dropna(subset="label")[["image", "path", "label"]]
    shared = labelled[labelled["label"].duplicated(keep=False)]
    queries = shared.assign(query=range(len(shared)), **dict.fromkeys(("x0", "y0", "x1", "y1"), np.nan))
    pairs = queries[["query", "image", "label"]].merge(shared, on="label", suffixes=("_query", ""))
    pairs = pairs.sort_values(["query", "image"])
    grade = np.where(pairs["image"] == pairs["image_query"], "junk", "easy")
    return {"queries": queries, "relevance": pairs.assign(grade=grade)}
