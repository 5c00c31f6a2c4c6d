"""The user's files about a folder of photos, in the format of `lrcr.datasets.folder`: labels, ground truth, regions."""

import csv
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, ValidationError

from lrcr.config.base import Section
from lrcr.data.dataset import GRADES
from lrcr.data.images import round_box
from lrcr.data.regions import BOX
from lrcr.datasets.photos import Photos, StoredImage
from lrcr.errors import DatasetError, ImageError


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


def read_labels(file: Path, photos: Photos) -> dict[str, str | None]:
    """Read `labels.csv`: image name → label, None for an empty one; {} if there is no such file.

    Raises:
        DatasetError: it is not CSV with these columns, names an unknown image, or gives an image two labels.
    """
    labels: dict[str, str | None] = {}
    if not file.exists():
        return labels
    for where, row in _read_rows(file, ("image", "label")):
        image, label = photos.find(row["image"], where), row["label"] or None
        if labels.setdefault(image, label) != label:
            earlier = labels[image]
            raise DatasetError(f"{where} gives {image!r} the label {label!r}, an earlier line {earlier!r}; keep one")
    return labels


def read_regions(file: Path, database: list[str], photos: Photos) -> pd.DataFrame | None:
    """Read `regions.csv` as the table of regions (`lrcr.data.regions`); None if there is no such file.

    Regions of images that are not in the database are left out.

    Args:
        database: names of the images of the database, by id.

    Raises:
        DatasetError: it is not CSV with these columns, names an unknown image, or a box or a score is no number or does
            not fit its image.
    """
    if not file.exists():
        return None
    ids = {name: image for image, name in enumerate(database)}
    table = []
    for where, row in _read_rows(file, ("image", *BOX, "score")):
        image = photos.find(row["image"], where)
        try:
            *box, score = (float(row[name]) for name in (*BOX, "score"))
        except ValueError as error:
            raise DatasetError(f"{where}: {error}; write numbers") from None
        _check_box(box, photos.accepted[image], where)
        if image in ids:
            table.append((ids[image], *box, score))
    return pd.DataFrame(table, columns=["image", *BOX, "score"])


def _read_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file that has these columns, each with its place for messages."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            missing = set(columns) - set(rows.fieldnames or ())
            if missing:
                first_line = ",".join(columns)
                raise DatasetError(f"{file}: no column {min(missing)!r}; write {first_line} as the first line")
            for row in rows:
                where = f"{file}: line {rows.line_num}"
                if None in row or None in row.values():
                    remedy = "put names with commas in quotes"
                    raise DatasetError(f"{where}: the numbers of fields and columns differ; {remedy}")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); store it as CSV in UTF-8") from None


def read_ground_truth(file: Path, photos: Photos) -> GroundTruth | None:
    """Read and check `ground_truth.json`; None if there is no such file.

    Raises:
        DatasetError: it is not JSON of this form, or `database` names an unknown image or one image twice.
    """
    if not file.exists():
        return None
    try:
        truth = GroundTruth.model_validate_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); store it as JSON in UTF-8") from None
    except ValidationError as error:
        raise DatasetError(f"{file}: {_explain(dict(error.errors()[0]))}") from None
    names = truth.database and [photos.find(name, f"{file}: database") for name in truth.database]
    for name, count in Counter(names).items():
        if count > 1:
            raise DatasetError(f"{file}: database contains {name!r} {count} times; keep one")
    return truth.model_copy(update={"database": names})


def _explain(problem: dict[str, Any]) -> str:
    """Describe a problem that pydantic found, in one line: place, value, remedy."""
    place = ".".join(map(str, problem["loc"])).replace("queries.", "query ", 1)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] in ("json_invalid", "missing"):
        return f"{place}: {message}; correct the file".removeprefix(": ")
    if problem["type"] == "extra_forbidden":
        known = GradedQuery if problem["loc"][0] == "queries" else GroundTruth
        return f"{place} is not a known key; use {', '.join(known.model_fields)}"
    return f"{place or 'the file'} is {reprlib.repr(problem['input'])}: {message}"


def graded_tables(
    truth: GroundTruth, database: list[str], photos: Photos, file: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of queries and relevance of the ground truth.

    Args:
        database: names of the images of the database, by id.
        file: of the ground truth, for error messages.

    Raises:
        DatasetError: a name, a box or a grade contradicts the images.
    """
    ids = {name: image for image, name in enumerate(database)}
    queries: list[tuple[Any, ...]] = []
    relevance: list[tuple[int, int, str]] = []
    for number, query in enumerate(truth.queries):
        where = f"{file}: query {number}"
        image = photos.find(query.image, where)
        box = (None,) * 4 if query.bbox is None else _check_box(query.bbox, photos.accepted[image], where)
        queries.append((number, image, *box, ids.get(image)))
        grades = _check_grades(query, image, ids, photos, where)
        relevance.extend((number, ids[name], grade) for name, grade in grades.items())
    return (
        pd.DataFrame(queries, columns=["query", "path", "x0", "y0", "x1", "y1", "image"]),
        pd.DataFrame(relevance, columns=["query", "image", "grade"]),
    )


def _check_box(box: list[float], image: StoredImage, where: str) -> list[float]:
    try:
        round_box(box, (image.width, image.height), image.stored)
    except ImageError as error:
        raise DatasetError(f"{where}: {error}") from None
    return box


def _check_grades(query: GradedQuery, image: str, ids: dict[str, int], photos: Photos, where: str) -> dict[str, str]:
    """The grade of each image that a query lists; junk for the query image itself if it is in the database."""
    grades: dict[str, str] = {}
    for grade in GRADES:
        for name in (photos.find(given, where) for given in getattr(query, grade)):
            if name not in ids:
                raise DatasetError(f"{where} names {name!r}, which is not in the database; add it there")
            if name in grades:
                raise DatasetError(f"{where} names {name!r} as {grades[name]} and as {grade}; keep one")
            grades[name] = grade
    if image in ids and grades.setdefault(image, "junk") != "junk":
        raise DatasetError(f"{where} names its own image {image!r} as {grades[image]}; it can only be junk")
    return grades
