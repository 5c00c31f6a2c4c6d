"""How much of the context's gain on real photos comes from the border of the map, where the network sees its padding.

Nothing is learned here but the whitening. The photos are halved as by `context_photos`. Needs `LRCR_TEST_DATA`: a
folder with `photos/` and `weights/`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.arena import Setting
from benchmarks.bars import Value
from benchmarks.context_photos import frozen_trunk, halves
from benchmarks.photos import test_data
from benchmarks.rows import changed
from lrcr.cli.terminal import track
from lrcr.models.inference import ready_for_inference
from lrcr.models.zoo import open_model
from lrcr.training.loop import train

_SETTINGS = [Setting(), Setting(0.4)]


def run() -> Iterator[Value]:
    """No smoothing and the average of 3 × 3, each with and without the border, one codebook seed."""
    params = frozen_trunk(test_data())
    folders, arenas = halves(params)
    for kind in ("none", "average"):
        for border in (0, 1):
            own = changed(params, {"smoothing": {"kind": kind}, "train": {"epochs": 0}, "backbone": {"border": border}})
            parts = []
            for half in (0, 1):
                with tempfile.TemporaryDirectory() as folder:
                    train(own, folders[1 - half], None, Path(folder, "model.pt"), track=track)
                    model, _ = open_model(Path(folder, "model.pt"))
                model = ready_for_inference(model, torch.device("cpu"))
                parts.append(arenas[half].score(model, _SETTINGS, seed=0))
            for setting in _SETTINGS:
                together = pd.concat([part[setting].table for part in parts])
                where, count = "left aside" if border else "kept", round(setting.share * params.extract.descriptors)
                name = f"smoothing {kind}, border {where}, {count} descriptors"
                for setup in ("medium", "hard"):
                    yield Value(f"{name}: mAP ({setup})", float(np.nanmean(together[setup])))
