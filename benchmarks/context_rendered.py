"""Context trained on the rendered landmarks of the embedded dataset and evaluated on real photos.

One frozen trunk with ImageNet weights. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.cache import cache_folder
from benchmarks.context_photos import frozen_trunk, make_folder
from benchmarks.evaluator import Evaluator
from benchmarks.photos import test_data
from benchmarks.rows import PER_LOCATION, Split, changed, compare_rows
from benchmarks.tables import write_comparison
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import build_model

_SEEDS = (0,)


def run() -> Iterator[Value]:
    """The table and the curve."""
    data = test_data()
    params = changed(frozen_trunk(data), PER_LOCATION)
    trunk = build_model(params).eval()
    embedded = load_params(Path("params.yaml")).datasets
    work = cache_folder("rendered")
    for name in ("synthetic-train", "synthetic-val"):
        make_dataset(name, embedded[name], work / name, seed=0, progress=progress)
    make_folder(data / "photos", work / "photos")
    validation, evaluation = (Evaluator(params, trunk, work / name) for name in ("synthetic-val", "photos"))
    split = Split(work / "synthetic-train", validation, evaluation)
    scored = [compare_rows(params, [split], seed, "separate_then_joint") for seed in _SEEDS]
    yield from write_comparison("context_rendered", scored)
