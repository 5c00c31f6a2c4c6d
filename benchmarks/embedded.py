"""The datasets of the default run, as `params.yaml` describes them."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import cache_folder
from lrcr.cli.terminal import progress
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.storage.artifacts import fingerprint


@dataclass(frozen=True)
class Embedded:
    """The folders of three datasets."""

    train: Path
    validation: Path
    test: Path


def make_embedded() -> Embedded:
    """Make the three datasets, or find them as an earlier run made them."""
    params = load_params(Path("params.yaml"))
    assert params.data.train is not None and params.data.val is not None, "params.yaml trains"
    names = (params.data.train, params.data.val, *params.data.eval)
    work = cache_folder(fingerprint("embedded", [params.datasets[name].model_dump(mode="json") for name in names]))
    for name in (each for each in names if not (work / each).exists()):
        make_dataset(name, params.datasets[name], work / name, seed=params.seed, progress=progress)
    return Embedded(*(work / name for name in names))
