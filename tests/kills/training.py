"""Training with its log in a file, as a function that the forking process can import."""

import json
from pathlib import Path

from lrcr.config.params import Params
from lrcr.training.train import train


def train_with_log(params: Params, folder: Path, model_file: Path) -> None:
    """Train a model; what each epoch logs depends on all earlier ones, also where the start is the best."""
    logged: list[dict[str, float]] = []
    train(params, folder, None, model_file, log=logged.append)
    model_file.with_name("log.json").write_text(json.dumps(logged))
