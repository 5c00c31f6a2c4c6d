"""K-means with shortlists compared with exact k-means, words found in cells with all words, and bfloat16 with float32.

mAP of 20 codebooks a side, and time.

HOW without training and smoothing, with cropped border, 2,048 words of 64 descriptors each, real photos. Needs
`LRCR_TEST_DATA`: a folder with `photos/` and `weights/`. What a killed run has finished is found again.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, recipe, test_data
from benchmarks.rows import code
from benchmarks.tables import markdown, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import fingerprint, read_json, write_json

_CODEBOOKS = 20
_COMMON = ("backbone.crop_border=1", "smoothing.kind=none", "codebook.words=2048", "codebook.per_word=64")
_SIDES = {
    "float32, exact": ("extract.compute=float32", "codebook.assignment=exact"),
    "float32, shortlists": ("extract.compute=float32", "codebook.assignment=approximate"),
    "float32, shortlists in cells": ("extract.compute=float32", "codebook.assignment=ivf"),
    "bfloat16, shortlists": ("extract.compute=bfloat16", "codebook.assignment=approximate"),
}
_SETUPS = ("medium", "hard")


def run() -> Iterator[Value]:
    """Write `results/codebooks.md`; yield the differences between the sides and the speed of k-means."""
    data = test_data()
    work = cache_folder(fingerprint(code(), "codebooks"))
    if not (work / "dataset").exists():
        make_dataset("photos", FolderParams(kind="folder", path=str(data / "photos")), work / "dataset", seed=0)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in _SIDES}
    for seed in range(_CODEBOOKS):  # the sides in turns, so that other load affects all of them
        for side, overrides in _SIDES.items():
            params = recipe(data, *_COMMON, *overrides, f"codebook.seed={seed}")
            found[side].append(_measure(params, work, overrides[0].rpartition("=")[2], fingerprint(overrides, seed)))
    rows = [
        [side, *(_spread([run[setup] for run in runs]) for setup in _SETUPS), f"{mean(r['seconds'] for r in runs):.1f}"]
        for side, runs in found.items()
    ]
    write("codebooks", markdown(["", "medium", "hard", "seconds of k-means"], rows))
    exact, short, cells, half = (found[side] for side in _SIDES)
    compared = {
        "shortlists − exact k-means": (short, exact),
        "shortlists in cells − exact k-means": (cells, exact),
        "bfloat16 − float32": (half, short),
    }
    for name, (a, b) in compared.items():
        for setup in _SETUPS:
            difference = mean(run[setup] for run in a) - mean(run[setup] for run in b)
            yield Value(f"{name}: mAP ({setup}), {_CODEBOOKS} codebooks a side", difference, -0.5, 0.5)
    speed = mean(a["seconds"] / b["seconds"] for a, b in zip(exact, short, strict=True))
    yield Value("speed of k-means with shortlists relative to exact k-means", speed, at_least=3)


def _measure(params: Params, work: Path, compute: str, name: str) -> dict[str, Any]:
    """The mAP with one codebook, and the seconds of its k-means."""
    if not (work / compute / "fit").exists():
        shutil.rmtree(work / compute, ignore_errors=True)
        (work / compute).mkdir()
        describe(params, work, compute)
    file = work / f"{name}.json"
    if not file.exists():
        own = work / "one"
        shutil.rmtree(own, ignore_errors=True)
        start = time.perf_counter()
        make_codebook(params, work / compute / "fit", own / "codebook", progress)
        seconds = time.perf_counter() - start
        described = work / compute / "descriptors"
        model = work / compute / "model.safetensors"
        index_dataset(params, model, work / "dataset", described, own / "codebook", own / "index")
        scores = evaluate_dataset(params, work / "dataset", described, own / "index").evaluation.map
        write_json(file, {"seconds": seconds, **{setup: scores[setup] for setup in _SETUPS}})
    found: dict[str, Any] = read_json(file)
    return found


def _spread(scores: list[float]) -> str:
    return f"{mean(scores):.2f} ± {stdev(scores):.2f}"
