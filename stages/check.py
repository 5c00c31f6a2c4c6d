"""Check all params before anything is touched.

`data/checked.json` is the same for all valid params; `data/method.json` holds the params of the chosen method of
training, so that params of the other methods train nothing again.
"""

from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Reading the params has checked them."""
    write_json(Path("data/checked.json"), {"params": "valid"})
    train = params.sections("train")["train"]
    write_json(Path("data/method.json"), {"method": params.method, params.method: train[params.method]})


run_stage(main)
