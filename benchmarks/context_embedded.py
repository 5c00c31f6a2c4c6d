"""Context on the embedded dataset: for each seed a trunk trained from scratch, and context trained on its maps."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.cache import cache_folder
from benchmarks.context_photos import RECIPE, WITHOUT_CONTEXT
from benchmarks.evaluator import Evaluator
from benchmarks.rows import PER_LOCATION, Runs, Split, changed, code, compare_rows
from benchmarks.tables import write_comparison
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.models.factory import open_local_model
from lrcr.storage.artifacts import fingerprint
from lrcr.training.train import train

_SEEDS = (0, 1, 2, 3, 4)
_LONGER = {"epochs": 3, "validation": {"every": 3}}  # ten times as many photos as the recipe is made for
_TRAIN, _VAL, _EVAL = "synthetic-train", "synthetic-val", "synthetic"


def run() -> Iterator[Value]:
    """The seed decides data, trunk, training and codebook; the average is chosen on the validation set."""
    yield from write_comparison("context_embedded", [_compare(seed) for seed in _SEEDS])


def _compare(seed: int) -> dict[str, Runs]:
    params = load_params(None, [f"seed={seed}"], recipe="scratch")
    work = cache_folder(f"{fingerprint(code(), params.model_dump(mode='json'))}")
    for name in (_TRAIN, _VAL, _EVAL):
        make_dataset(name, params.datasets[name], work / name, seed=seed, progress=progress)
    if not (work / "trunk.safetensors").exists():
        train(params, work / _TRAIN, work / _VAL, work / "trunk.safetensors", progress=progress)
    own = _context(params, work / "trunk.safetensors")
    trunk = open_local_model(work / "trunk.safetensors")
    evaluation, validation = (Evaluator(own, trunk, work / name, work / _TRAIN) for name in (_EVAL, _VAL))
    return compare_rows(own, [Split(work / _TRAIN, validation, evaluation)], seed, "separate_then_joint")


def _context(params: Params, trunk_file: Path) -> Params:
    """The recipe `context` on that trunk, at the sizes of the embedded photos, still without context."""
    recipe = load_params(None, WITHOUT_CONTEXT, recipe=RECIPE).model_dump(mode="json")
    losses = {"max_descriptors": params.extract.max_descriptors}
    sizes = {"image_size": params.extract.image_size, "tuples": {"scales": params.scales, "losses": losses}}
    trunk = {"weights": str(trunk_file), "crop_border": recipe["backbone"]["crop_border"]}
    own = {"backbone": trunk, "smoothing": recipe["smoothing"], "train": recipe["train"]}
    return changed(params, own, {"train": sizes}, {"train": _LONGER}, PER_LOCATION)
