"""Check all params before any other stage runs.

`data/checked.json` has the same contents for all valid params. `data/method.json` holds the params of the chosen
training method: a change of the params of another method does not run the training again.
"""

from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Write both files; `run_stage` has validated the params when it read them."""
    write_json(Path("data/checked.json"), {"params": "valid"})
    train = params.sections("train")["train"]
    write_json(Path("data/method.json"), {"method": params.method, params.method: train[params.method]})


run_stage(main)
