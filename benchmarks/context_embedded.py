"""Context on the embedded default: a trunk trained from nothing for each seed, and what is learned on its maps."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.arena import Arena
from benchmarks.bars import Value
from benchmarks.rows import PER_LOCATION, Match, Runs, changed, code, compare_rows
from benchmarks.tables import tell
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import open_model
from lrcr.storage.artifacts import fingerprint, state_folder
from lrcr.training.train import train

_SEEDS = (0, 1, 2, 3, 4)
_LONGER = {"epochs": 3, "validation": {"every": 3}, "merge": False}  # there are ten times the photos of the recipe's
_TRAIN, _VAL, _EVAL = "synthetic-train", "synthetic-val", "synthetic"


def run() -> Iterator[Value]:
    """Data, trunk, training and codebook are those of the seed; the average is chosen on the validation set."""
    yield from tell("context_embedded", [_compare(seed) for seed in _SEEDS])


def _compare(seed: int) -> dict[str, Runs]:
    params = load_params(Path("params.yaml"), [f"seed={seed}"])
    work = state_folder(f"benchmarks/{fingerprint(code(), params.model_dump(mode='json'))}")
    for name in (_TRAIN, _VAL, _EVAL):
        make_dataset(name, params.datasets[name], work / name, seed=seed, progress=progress)
    if not (work / "trunk.pt").exists():
        train(params, work / _TRAIN, work / _VAL, work / "trunk.pt", progress=progress)
    own = _context(params, work / "trunk.pt")
    trunk, _ = open_model(work / "trunk.pt")
    evaluated, validation = (Arena(own, trunk, work / name, work / _TRAIN) for name in (_EVAL, _VAL))
    return compare_rows(own, [Match(work / _TRAIN, validation, evaluated)], seed)


def _context(params: Params, trunk_file: Path) -> Params:
    """The recipe of the context on that trunk, at the sizes of the embedded photos."""
    recipe = load_params(Path("recipes/context.yaml")).model_dump(mode="json")
    sizes = {"image_size": params.extract.image_size, "scales": params.scales}
    losses = {**recipe["train"]["losses"], "descriptors": params.extract.descriptors}
    train = {**recipe["train"], **sizes, "losses": losses, **_LONGER}
    trunk = {"weights": str(trunk_file), "border": recipe["backbone"]["border"]}
    smoothing = {**recipe["smoothing"], "kind": "average"}
    return changed(params, {"backbone": trunk, "smoothing": smoothing, "train": train}, PER_LOCATION)
