"""Check all params before any other stage runs.

`data/checked.json` has the same contents for all valid params. `data/method.json` holds the params of the chosen
training method, and of pretraining where there is one: a change of the params of another method does not run the
training again.
"""

from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Write both files; `run_stage` has validated the params when it read them."""
    write_json(Path("data/checked.json"), {"params": "valid"})
    train = params.sections("train")["train"]
    decisive = ("method", params.method, "pretrain")
    write_json(Path("data/method.json"), {key: train[key] for key in decisive if key in train})


run_stage(main)
