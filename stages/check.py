"""Check all params before any other stage runs.

`data/checked/` holds a file for each dataset; for a folder of photos it contains the hash of what the stage list has
found there. `data/method.json` holds the params of the chosen training method, and of pretraining where there is one: a
change of the params of another method does not run the training again.
"""

from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.steps import require_steps
from lrcr.errors import ParamsError
from lrcr.storage.artifacts import hash_file, staged_folder, write_json

_USES = {
    "train": "name a dataset to train on",
    "val": "name a dataset to validate on, or that of train, of which landmarks are held out",
    "fit": "name a dataset to learn the codebook on",
}


def main(params: Params) -> None:
    """Write the files; `run_stage` has validated the params when it read them."""
    folders = [name for name, dataset in params.datasets.items() if isinstance(dataset, FolderParams)]
    if set(folders) != set(params.data.folders):
        given, found = (", ".join(names) for names in (params.data.folders, folders))
        raise ParamsError(f"params.yaml: data.folders: [{given}], but the folders are [{found}]; list these")
    require_steps(params)
    for use, remedy in _USES.items():
        if getattr(params.data, use) is None:
            raise ParamsError(f"params.yaml: data.{use}: null; {remedy}")
    with staged_folder(Path("data/checked")) as staged:
        for name in params.datasets:
            listed = hash_file(Path(f"listed/{name}.tsv")) if name in folders else None
            write_json(staged / f"{name}.json", {"params": "valid", "listed": listed})
    train = params.sections("train")["train"]
    decisive = ("method", params.method, "pretrain")
    write_json(Path("data/method.json"), {key: train[key] for key in decisive if key in train})


run_stage(main)
