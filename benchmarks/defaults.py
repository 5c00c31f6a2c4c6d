"""The default settings off the shelf on real photos, beside others: mAP of trunks, smoothing, border and dimensions.

Needs `LRCR_TEST_DATA`: a folder with `more-photos/`, on which the defaults are chosen, `photos/` and `weights/`. What a
killed run has finished is found again.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, test_data
from benchmarks.rows import code
from benchmarks.tables import markdown, spread, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.per_query import open_per_query, write_per_query
from lrcr.evaluation.seeds import Side, compare_seeds
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import fingerprint

_SEEDS = (0, 1, 2)
_SETS = {"chosen on": "more-photos", "shown on": "photos"}
_AVERAGE = ("smoothing.kind=average", "backbone.crop_border=0")
_RESNET = ("backbone.name=resnet18", "whitening.dim=128")
_ROWS = {
    "EfficientNet-Lite0, 96 dimensions (default)": (),
    "ResNet-18": _RESNET,
    "EfficientNet-Lite0, average 3 × 3, border kept": _AVERAGE,
    "ResNet-18, average 3 × 3, border kept": (*_RESNET, *_AVERAGE),
}


def run() -> Iterator[Value]:
    """Write `results/defaults.md`; yield mAP (medium) on the set on which the defaults are chosen."""
    data = test_data()
    head = ["", *(f"{name} {setup}, {kind}" for kind, name in _SETS.items() for setup in ("medium", "hard"))]
    rows = []
    for row, overrides in _ROWS.items():
        cells = [row]
        for name in _SETS.values():
            if _AVERAGE[0] in overrides and name == _SETS["chosen on"]:
                cells += ["", ""]  # HOW's smoothing and border are no candidates: see `docs/results/context.md`
                continue
            sides = [Side(row, _evaluate(overrides, data, name, seed)) for seed in _SEEDS]
            for setup in ("medium", "hard"):
                scored = compare_seeds(sides, sides, setup).a
                cells.append("–" if scored is None else spread(scored))
                if setup == "medium" and name == _SETS["chosen on"] and scored is not None:
                    yield Value(f"{row}: mAP (medium), {name}", scored.mean)
        rows.append(cells)
    write("defaults", markdown(head, rows))


def _evaluate(overrides: tuple[str, ...], data: Path, name: str, seed: int) -> pd.DataFrame:
    """The AP of each query with the words of this seed."""
    resnet = f"backbone.weights={data / 'weights/resnet18-imagenet-to-layer3.npz'}"
    sizes = ("extract.image_size=512", "train.image_size=512", "train.epochs=0")
    words = ("codebook.words=2048", f"codebook.seed={seed}")
    params = load_params(None, [*overrides, *sizes, *words, *([resnet] if overrides[:2] == _RESNET else [])])
    work = cache_folder(fingerprint(code(), name))
    if not (work / "dataset").exists():
        make_dataset(name, FolderParams(kind="folder", path=str(data / name)), work / "dataset", seed=0)
    own = work / fingerprint(overrides)
    if not (own / "fit").exists():
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        describe(params, work, own.name)
    table = own / f"ap-{seed}.csv"
    if not table.exists():
        for folder in ("codebook", "index"):
            shutil.rmtree(own / folder, ignore_errors=True)
        make_codebook(params, own / "fit", own / "codebook", progress)
        index_dataset(
            params,
            own / "model.safetensors",
            work / "dataset",
            own / "descriptors",
            own / "codebook",
            own / "index",
            progress,
        )
        write_per_query(table, evaluate_dataset(params, work / "dataset", own / "descriptors", own / "index").per_query)
    return open_per_query(table)
