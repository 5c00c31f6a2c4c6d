"""Train the model."""

from pathlib import Path

from dvclive import Live

from lrcr.cli.terminal import run_stage, track
from lrcr.params import Params
from lrcr.training.loop import train


def main(params: Params) -> None:
    """Train on `data.train`, validate on `data.val`, log every epoch."""
    val = Path("data", params.data.val) if params.data.val else None
    with Live("metrics/training", dvcyaml=None, report=None, save_dvc_exp=False, monitor_system=False) as live:

        def log(values: dict[str, float]) -> None:
            for name, value in values.items():
                live.log_metric(name, value)
            live.next_step()

        train(params, Path("data", params.data.train or ""), val, Path("data/model.pt"), log=log, track=track)


run_stage(main)
