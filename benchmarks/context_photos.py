"""Context on real photos: one frozen trunk with ImageNet weights, and context trained on its maps of labelled photos.

The context is trained on one half of the photos and evaluated on the other half, in both directions; no landmark is in
both halves. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.evaluator import Evaluator
from benchmarks.photos import test_data
from benchmarks.rows import PLAIN, Changes, Split, compare_rows, pool_splits, score_rows
from benchmarks.tables import write_comparison, write_parts
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import build_model

_SEEDS = (0, 1)
_CODEBOOKS = 3
"""Of each seed; a score is their mean."""

RECIPE = "context"
WITHOUT_CONTEXT = ("smoothing.kind=average", "graph.kind=none", "train.tuples.schedule=joint")
"""What takes the context out of the recipe; each row adds its own."""


def run() -> Iterator[Value]:
    """The table and the curve."""
    params = frozen_trunk(test_data())
    splits = halves(params, _CODEBOOKS)
    yield from write_comparison("context_photos", [compare_rows(params, splits, seed) for seed in _SEEDS])


def compare_parts(name: str, changes: dict[str, Changes]) -> Iterator[Value]:
    """A table of other rows on the same halves with one seed, given what each row changes."""
    params = frozen_trunk(test_data())
    scored = [score_rows(params, split, changes, 0, [PLAIN]) for split in halves(params)]
    yield from write_parts(name, pool_splits(scored))


def halves(params: Params, codebooks: int = 1) -> list[Split]:
    """Two splits: each evaluates on one half of the photos, and trains and validates on the other half."""
    work, trunk = cache_folder("photos"), build_model(params).eval()
    for half in (0, 1):
        shutil.rmtree(work / f"folder-{half}", ignore_errors=True)
        _write_half(test_data() / "photos", work / f"folder-{half}", half)
        make_folder(work / f"folder-{half}", work / f"half-{half}")
    folders = [work / f"half-{half}" for half in (0, 1)]
    evaluators = [Evaluator(params, trunk, folder, codebooks=codebooks) for folder in folders]
    return [Split(folders[1 - half], evaluators[1 - half], evaluators[half]) for half in (0, 1)]


def frozen_trunk(data: Path) -> Params:
    """The recipe `context` with the weights of the trunk, still without context."""
    weights = f"backbone.weights={data / 'weights/resnet18-imagenet-to-layer3.npz'}"
    return load_params(None, [weights, *WITHOUT_CONTEXT], recipe=RECIPE)


def make_folder(photos: Path, folder: Path) -> None:
    """Make the dataset of a folder of photos."""
    make_dataset(folder.name, FolderParams(kind="folder", path=str(photos)), folder, seed=0, progress=progress)


def _write_half(photos: Path, folder: Path, half: int) -> None:
    """Write half of the landmarks, balanced by number of photos, and every second distractor, as symbolic links."""
    with (photos / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["image"]: row["label"] for row in csv.DictReader(file)}
    truth = json.loads((photos / "ground_truth.json").read_text(encoding="utf-8"))
    counts = pd.Series(labels).replace("", None).value_counts()
    order = sorted(counts.index, key=lambda label: (-counts[label], label))
    side = {label: int(rank % 4 in (1, 2)) for rank, label in enumerate(order)}
    distractors = [name for name in truth["database"] if not labels.get(name)]
    kept = {name for name, label in labels.items() if label and side[label] == half} | set(distractors[half::2])
    for name in kept:
        link = folder / "images" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((photos / "images" / name).resolve())
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *([name, labels[name]] for name in sorted(kept & set(labels)))])
    grades = ("easy", "hard", "junk")
    queries = [
        {**query, **{grade: [name for name in query[grade] if name in kept] for grade in grades}}
        for query in truth["queries"]
        if query["image"] in kept
    ]
    (folder / "ground_truth.json").write_text(
        json.dumps({"database": sorted(kept), "queries": queries}), encoding="utf-8"
    )
