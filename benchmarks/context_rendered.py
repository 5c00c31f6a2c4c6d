"""Context on real photos, learned on the rendered landmarks of the embedded dataset: what carries over.

One frozen trunk with ImageNet weights. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.arena import Arena
from benchmarks.bars import Value
from benchmarks.context_photos import frozen_trunk, make_folder
from benchmarks.photos import test_data
from benchmarks.rows import PER_LOCATION, Match, changed, compare_rows
from benchmarks.tables import tell
from lrcr.cli.terminal import progress
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import build_model
from lrcr.storage.artifacts import state_folder

_SEEDS = (0,)


def run() -> Iterator[Value]:
    """The table and its curve."""
    data = test_data()
    params = changed(frozen_trunk(data), PER_LOCATION)
    trunk = build_model(params).eval()
    embedded = load_params(Path("params.yaml")).datasets
    work = state_folder("benchmarks/rendered")
    for name in ("synthetic-train", "synthetic-val"):
        make_dataset(name, embedded[name], work / name, seed=0, progress=progress)
    make_folder(data / "photos", work / "photos")
    validation, evaluated = (Arena(params, trunk, work / name) for name in ("synthetic-val", "photos"))
    match = Match(work / "synthetic-train", validation, evaluated)
    yield from tell("context_rendered", [compare_rows(params, [match], seed) for seed in _SEEDS])
