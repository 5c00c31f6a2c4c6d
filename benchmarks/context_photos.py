"""Context on real photos: one frozen trunk with ImageNet weights, and what is learned on its maps.

Learned on the rendered landmarks and evaluated on all photos; and learned on one half of the labelled photos and
evaluated on the other, each half once. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.bars import Value
from benchmarks.photos import test_data
from benchmarks.rows import CURVE, ROWS, Arena, Scored, changed, choose_kernel, tell, train_row
from lrcr.cli.terminal import track
from lrcr.datasets.make import make_dataset
from lrcr.models.zoo import build_model
from lrcr.params import FolderParams, Params, load_params

_SEEDS = (0,)


def run() -> Iterator[Value]:
    """Both tables."""
    data = test_data()
    weights = f"backbone.weights={data / 'weights/resnet18-imagenet-to-layer3.npz'}"
    params = load_params(Path("recipes/context.yaml"), [weights, "smoothing.kind=average", "graph.kind=none"])
    trunk = build_model(params).eval()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        embedded = load_params(Path("params.yaml")).datasets
        for name in ("synthetic-train", "synthetic-val"):
            make_dataset(name, embedded[name], work / name, seed=0, track=track)
        _make(data / "photos", work / "photos")
        evaluated = Arena(params, trunk, work / "photos")
        rendered = Match(work / "synthetic-train", Arena(params, trunk, work / "synthetic-val"), evaluated)
        yield from _table("rendered landmarks", params, [rendered], work)
        for half in (0, 1):
            _write_half(data / "photos", work / f"folder-{half}", half)
            _make(work / f"folder-{half}", work / f"half-{half}")
        halves = [Arena(params, trunk, work / f"half-{half}") for half in (0, 1)]
        matches = [Match(work / f"half-{1 - half}", halves[1 - half], halves[half]) for half in (0, 1)]
        yield from _table("other photos", params, matches, work)


@dataclass(frozen=True)
class Match:
    """Where a row learns, where the kernel of the average is chosen, and where the row is evaluated."""

    train_on: Path
    validation: Arena
    evaluated: Arena


def _table(source: str, params: Params, matches: Sequence[Match], work: Path) -> Iterator[Value]:
    """Every row in each match, the matches' queries taken together."""
    kernels = [choose_kernel(params, match.train_on, match.validation, work / "row") for match in matches]
    for kernel in kernels:
        yield Value(f"learned on {source}, kernel of the average, chosen on validation", kernel)
    rows: dict[str, list[dict[int, Scored]]] = {row: [] for row in ROWS}
    for seed in _SEEDS:
        for row, changes in ROWS.items():
            parts = []
            for match, kernel in zip(matches, kernels, strict=True):
                own = changed(params, {"smoothing": {"kernel": kernel}}, *changes).model_copy(update={"seed": seed})
                model = train_row(own, match.train_on, work / "row")
                parts.append(match.evaluated.score(model, CURVE, seed))
            rows[row].append({count: _together([part[count] for part in parts]) for count in CURVE})
    yield from tell(f"learned on {source}", rows)


def _together(parts: Sequence[Scored]) -> Scored:
    table = pd.concat([part.table for part in parts], ignore_index=True)
    return Scored(table.assign(query=range(len(table))), sum(part.words for part in parts) / len(parts))


def _make(photos: Path, folder: Path) -> None:
    make_dataset(folder.name, FolderParams(kind="folder", path=str(photos)), folder, seed=0, track=track)


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
