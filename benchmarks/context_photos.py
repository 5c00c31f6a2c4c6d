"""Context on real photos: one frozen trunk with ImageNet weights, and what is learned on its maps from labelled photos.

Learned on one half of the photos and evaluated on the other, each half once; no landmark is in both. Needs
`LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.arena import Arena
from benchmarks.bars import Value
from benchmarks.photos import test_data
from benchmarks.rows import PLAIN, Changes, Match, compare_rows, score_rows, together
from benchmarks.tables import tell, tell_parts
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import build_model
from lrcr.storage.artifacts import state_folder


def run() -> Iterator[Value]:
    """The table and its curve."""
    params = frozen_trunk(test_data())
    matches = halves(params, _CODEBOOKS)
    yield from tell("context_photos", [compare_rows(params, matches, seed) for seed in _SEEDS])


def compare_parts(name: str, changes: dict[str, Changes]) -> Iterator[Value]:
    """A table of other rows on the same halves under one seed, given what each changes."""
    params = frozen_trunk(test_data())
    yield from tell_parts(name, together([score_rows(params, match, changes, 0, [PLAIN]) for match in halves(params)]))


def halves(params: Params, codebooks: int = 1) -> list[Match]:
    """Each half of the photos to evaluate on, the other one to learn and to validate on."""
    work, trunk = state_folder("benchmarks/photos"), build_model(params).eval()
    for half in (0, 1):
        shutil.rmtree(work / f"folder-{half}", ignore_errors=True)
        _write_half(test_data() / "photos", work / f"folder-{half}", half)
        make_folder(work / f"folder-{half}", work / f"half-{half}")
    folders = [work / f"half-{half}" for half in (0, 1)]
    arenas = [Arena(params, trunk, folder, codebooks=codebooks) for folder in folders]
    return [Match(folders[1 - half], arenas[1 - half], arenas[half]) for half in (0, 1)]


_SEEDS = (0, 1)
_CODEBOOKS = 3
"""For each seed; their mean counts."""

_PLAIN = ("smoothing.kind=average", "graph.kind=none", "train.merge=false")


def frozen_trunk(data: Path) -> Params:
    """The recipe of the context with the trunk's weights, and as yet without context."""
    weights = f"backbone.weights={data / 'weights/resnet18-imagenet-to-layer3.npz'}"
    return load_params(Path("recipes/context.yaml"), [weights, *_PLAIN])


def make_folder(photos: Path, folder: Path) -> None:
    """Make the dataset of a folder of photos."""
    make_dataset(folder.name, FolderParams(kind="folder", path=str(photos)), folder, seed=0, progress=progress)


def _write_half(photos: Path, folder: Path, half: int) -> None:
    """Every second landmark, by number of photos, and every second distractor, as a folder of links."""
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
