"""Context on the embedded default: a trunk trained from nothing for each seed, and what is learned on its maps."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bars import Value
from benchmarks.rows import CURVE, ROWS, Arena, Scored, changed, choose_kernel, tell, train_row
from lrcr.cli.terminal import track
from lrcr.datasets.make import make_dataset
from lrcr.models.zoo import open_model
from lrcr.params import load_params
from lrcr.training.loop import train

_SEEDS = (0, 1, 2, 3, 4)
_TRAIN, _VAL, _EVAL = "synthetic-train", "synthetic-val", "synthetic"


def run() -> Iterator[Value]:
    """Data, trunk, training and codebook are those of the seed; kernel and epoch are chosen on the validation set."""
    rows: dict[str, list[dict[int, Scored]]] = {row: [] for row in ROWS}
    context = load_params(Path("recipes/context.yaml")).train.model_dump(mode="json")
    for seed in _SEEDS:
        params = load_params(Path("params.yaml"), [f"seed={seed}", f"codebook.seed={seed}"])
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            for name in (_TRAIN, _VAL, _EVAL):
                make_dataset(name, params.datasets[name], work / name, seed=seed, track=track)
            train(params, work / _TRAIN, work / _VAL, work / "trunk.pt", track=track)
            own: dict[str, Any] = {"backbone": {"weights": str(work / "trunk.pt")}, "train": {**context, **_SMALL}}
            params = changed(params, own)
            trunk, _ = open_model(work / "trunk.pt")
            evaluated = Arena(params, trunk, work / _EVAL, work / _TRAIN)
            validation = Arena(params, trunk, work / _VAL, work / _TRAIN)
            kernel = choose_kernel(params, work / _TRAIN, validation, work / "row")
            yield Value(f"embedded, seed {seed}: kernel of the average, chosen on validation", kernel)
            for row, changes in ROWS.items():
                model = train_row(
                    changed(params, {"smoothing": {"kernel": kernel}}, *changes), work / _TRAIN, work / "row"
                )
                rows[row].append(evaluated.score(model, CURVE, seed))
    yield from tell("embedded", rows)


_SMALL = {"image_size": 256}  # at which the context learns; the embedded photos have 256–320 px
