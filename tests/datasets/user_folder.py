"""Folders of photos as a user makes them, and the datasets made from them."""

import csv
import json
from pathlib import Path

from PIL import Image

from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets.folder import make_folder


def draw(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (0, len(file.name), 0)).save(file, "png")


def write_labels(path: Path, rows, columns=("image", "label")) -> None:
    with (path / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_truth(path: Path, queries, **more) -> None:
    (path / "ground_truth.json").write_text(json.dumps({"queries": queries, **more}), encoding="utf-8")


def make(path: Path, target: Path | None = None, **params):
    target = target or path.parent / "data"
    target.mkdir(exist_ok=True)
    make_folder(target, "mine", FolderParams(kind="folder", path=str(path), **params))
    return open_dataset(target)


def facts(path: Path) -> dict:
    return json.loads((path.parent / "data" / "dataset.json").read_text())["facts"]


def grades(dataset, query: int) -> dict[str, str]:
    rows = dataset.relevance[dataset.relevance["query"] == query]
    return dict(zip(dataset.images["path"].iloc[rows["image"]], rows["grade"], strict=True))
