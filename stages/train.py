"""Train the model in one process, or on several GPUs with `torchrun --nproc-per-node N -m stages.train`."""

from pathlib import Path

from dvclive import Live

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.runtime import distributed
from lrcr.training.train import train


def main(params: Params) -> None:
    """Train on `data.train`, validate on `data.val` (or on held-out landmarks of `data.train`), log every epoch."""
    val = Path("data", params.data.val) if params.data.val not in (None, params.data.train) else None
    paths = (Path("data", params.data.train or ""), val, Path("data/model.safetensors"))
    if distributed.rank():
        train(params, *paths)
        return
    with Live("metrics/training", dvcyaml=None, report=None, save_dvc_exp=False, monitor_system=False) as live:

        def log(values: dict[str, float]) -> None:
            live.step = int(values["epoch"])
            for name, value in values.items():
                live.log_metric(name, value)
            live.next_step()

        train(params, *paths, log=log, progress=progress)


run_stage(main, several=True)
