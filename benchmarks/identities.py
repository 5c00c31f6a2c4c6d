"""Real photos, divided by identity into training, validation and test: three datasets without a common identity.

Needs `LRCR_TEST_DATA`: a folder with `photos/` and `more-photos/`. The test photos are all of `photos/`, with its graded
queries and distractors, and those of two sevenths of the identities of `more-photos/`, each of which is a query for the others.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.photos import test_data
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets.make import make_dataset
from lrcr.errors import LrcrError

_PARTS = ("train", "test", "train", "validation", "train", "test", "train")
"""The part of the first seven identities, of the next seven, and so on; ordered by kind and number of photos."""


@dataclass(frozen=True)
class Identities:
    """The folders of three datasets."""

    train: Path
    validation: Path
    test: Path


def split_identities() -> Identities:
    """Make the three datasets, or find them as an earlier run made them."""
    folder = cache_folder("identities")
    parts = _parts(test_data() / "more-photos")
    for part in ("train", "validation", "test"):
        names = [name for name, own in parts.items() if own == part]
        _link(folder / f"{part}-photos", names, graded=part == "test")
        _make(folder / f"{part}-photos", folder / part)
    return Identities(*(folder / part for part in ("train", "validation", "test")))


def _parts(photos: Path) -> dict[str, str]:
    """The part of each labelled photo."""
    labels = pd.read_csv(photos / "labels.csv")
    groups = pd.read_csv(photos / "sources.csv").set_index("image")["group"]
    identities = labels.groupby("label")["image"].agg(["count", "first"])
    identities["group"] = groups[identities["first"]].to_numpy()
    order = identities.sort_values(["group", "count"], kind="stable").index
    part = {label: _PARTS[rank % len(_PARTS)] for rank, label in enumerate(order)}
    return {image: part[label] for image, label in zip(labels["image"], labels["label"], strict=True)}


def _link(folder: Path, names: list[str], *, graded: bool) -> None:
    """A folder of symbolic links to labelled photos; if `graded`, also to `photos/`, with its queries."""
    more = test_data() / "more-photos"
    labels = dict(csv.reader((more / "labels.csv").open(encoding="utf-8", newline="")))
    own = {f"more/{name}": labels[name] for name in names}
    targets = {f"more/{name}": more / "images" / name for name in names}
    if graded:
        photos = test_data() / "photos"
        truth = json.loads((photos / "ground_truth.json").read_text(encoding="utf-8"))
        shown = dict(csv.reader((photos / "labels.csv").open(encoding="utf-8", newline="")))
        own |= {f"photos/{name}": f"photos/{shown[name]}" for name in truth["database"] if shown.get(name)}
        targets |= {f"photos/{name}": photos / "images" / name for name in truth["database"]}
        queries = [_renamed(query) for query in truth["queries"]] + _leave_one_out(own)
        text = json.dumps({"database": sorted(targets), "queries": queries})
        folder.mkdir(exist_ok=True)
        (folder / "ground_truth.json").write_text(text, encoding="utf-8")
    for name, target in targets.items():
        link = folder / "images" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target.resolve())
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *sorted(own.items())])


def _renamed(query: dict[str, object]) -> dict[str, object]:
    """A query of `photos/`, whose images lie one folder deeper."""
    deeper = {grade: [f"photos/{name}" for name in query[grade]] for grade in ("easy", "hard", "junk")}  # type: ignore[attr-defined]
    return {**query, **deeper, "image": f"photos/{query['image']}"}


def _leave_one_out(labels: dict[str, str]) -> list[dict[str, object]]:
    """Each photo of `more-photos/` as a query for the others of its label, which are easy."""
    of_label = pd.Series(labels).groupby(labels).groups
    return [
        {"image": name, "easy": sorted(set(of_label[label]) - {name}), "hard": [], "junk": []}
        for name, label in sorted(labels.items())
        if name.startswith("more/") and len(of_label[label]) > 1
    ]


def _make(photos: Path, folder: Path) -> None:
    try:
        open_dataset(folder)
    except LrcrError:
        make_dataset(folder.name, FolderParams(kind="folder", path=str(photos)), folder, seed=0, progress=progress)
