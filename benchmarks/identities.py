"""Real photos, divided by identity into training, validation and test: three datasets without a common identity.

Needs `LRCR_TEST_DATA`: a folder with `photos/` and `more-photos/`. Four sevenths of the identities of `more-photos/`
are for training. Validation is `photos/`, with its graded queries. The test photos are the other identities of
`more-photos/`, in one database with all of `photos/` as distractors. Each of them is a query for the others of its
identity; the query is the middle of the photo, as the queries of benchmarks are crops: whole photos are nearly all
found without any context, and three quarters of them if the middle is 0.6 of each side.

`add_graded_queries` makes a second test set: the same database, and the graded queries of `photos/` beside the others.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from benchmarks.cache import cache_folder
from benchmarks.photos import test_data
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import GRADES, open_dataset
from lrcr.datasets.make import make_dataset
from lrcr.errors import LrcrError
from lrcr.storage.artifacts import fingerprint

_PARTS = ("train", "test", "train", "test", "train", "test", "train")
"""The part of the first seven identities, of the next seven, and so on; ordered by kind and number of photos."""

_MIDDLE = (0.275, 0.275, 0.725, 0.725)
"""The box of a query as shares of the width and height of its photo."""


GRADED = "photos/"
"""How the labels of `photos/` begin in the second test set."""


@dataclass(frozen=True)
class Identities:
    """The folders of three datasets."""

    train: Path
    validation: Path
    test: Path


def split_identities() -> Identities:
    """Make the three datasets, or find them as an earlier run made them."""
    folder, data = cache_folder("identities"), test_data()
    labels = _read_labels(data / "more-photos/labels.csv")
    parts = _parts(labels)
    for part in ("train", "test"):
        own = {name: label for name, label in labels.items() if parts.get(label) == part}
        _link(folder / f"{part}-photos", own, with_distractors=part == "test")
    sources = {"train": folder / "train-photos", "validation": data / "photos", "test": folder / "test-photos"}
    tables = folder / fingerprint(_PARTS, _MIDDLE)
    for part, photos in sources.items():
        if not _is_dataset(tables / part):
            make_dataset(part, FolderParams(kind="folder", path=str(photos)), tables / part, seed=0, progress=progress)
    return Identities(*(tables / part for part in sources))


def add_graded_queries(split: Identities) -> Path:
    """Make the test set that also has the graded queries of validation, or find it as an earlier run made it."""
    folder, data = cache_folder("identities") / "graded-photos", test_data() / "photos"
    labels = {GRADED + name: GRADED + label for name, label in _read_labels(data / "labels.csv").items() if label}
    truth = json.loads((data / "ground_truth.json").read_text(encoding="utf-8"))
    graded = [
        {**query, "image": GRADED + query["image"]}
        | {grade: [GRADED + name for name in query.get(grade, [])] for grade in GRADES}
        for query in truth["queries"]
    ]
    source = folder.with_name("test-photos")
    own = json.loads((source / "ground_truth.json").read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    if not (folder / "images").is_symlink():
        (folder / "images").symlink_to(source / "images")
    _write_truth(folder, {**_read_labels(source / "labels.csv"), **labels}, own["database"], own["queries"] + graded)
    tables = split.test.with_name("graded")
    if not _is_dataset(tables):
        make_dataset("graded", FolderParams(kind="folder", path=str(folder)), tables, seed=0, progress=progress)
    return tables


def is_graded(table: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each query of the second test set is one of `photos/`; `table` has the column `landmark`."""
    return table["landmark"].fillna(GRADED).str.startswith(GRADED)


def _read_labels(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8", newline="") as lines:
        labels = dict(csv.reader(lines))
    return {image: label for image, label in labels.items() if image != "image"}


def _parts(labels: dict[str, str]) -> dict[str, str]:
    """The part of each identity."""
    groups = pd.read_csv(test_data() / "more-photos/sources.csv").set_index("image")["group"]
    photos = pd.Series(labels, name="label").rename_axis("image").reset_index()
    identities = photos.groupby("label")["image"].agg(["count", "first"])
    identities["group"] = groups[identities["first"]].to_numpy()
    order = identities.sort_values(["group", "count"], kind="stable").index
    return {label: _PARTS[rank % len(_PARTS)] for rank, label in enumerate(order)}


def _link(folder: Path, labels: dict[str, str], *, with_distractors: bool) -> None:
    """A folder of links to photos of `more-photos/`, with labels and queries; if told so, also to `photos/`."""
    targets = {f"more/{name}": test_data() / "more-photos/images" / name for name in labels}
    shown = {f"more/{name}": label for name, label in labels.items()}
    queries = _middles(shown, targets)
    if with_distractors:
        images = test_data() / "photos/images"
        targets |= {f"photos/{path.relative_to(images)}": path for path in images.rglob("*") if path.is_file()}
    for name, target in targets.items():
        link = folder / "images" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target.resolve())
    _write_truth(folder, shown, sorted(targets), queries)


def _write_truth(folder: Path, labels: dict[str, str], database: list[str], queries: list[dict[str, Any]]) -> None:
    """The files `labels.csv` and `ground_truth.json` of a folder of photos."""
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *sorted(labels.items())])
    text = json.dumps({"database": database, "queries": queries})
    (folder / "ground_truth.json").write_text(text, encoding="utf-8")


def _middles(labels: dict[str, str], files: dict[str, Path]) -> list[dict[str, Any]]:
    """The middle of each photo as a query for the others of its label, which are easy."""
    of_label = pd.Series(labels).groupby(labels).groups
    queries = []
    for name, label in sorted(labels.items()):
        with Image.open(files[name]) as image:
            box = [share * side for share, side in zip(_MIDDLE, image.size * 2, strict=True)]
        others = sorted(set(of_label[label]) - {name})
        queries.append({"image": name, "bbox": box, "easy": others, "hard": [], "junk": []})
    return [query for query in queries if query["easy"]]


def _is_dataset(folder: Path) -> bool:
    try:
        open_dataset(folder)
    except LrcrError:
        return False
    return True
