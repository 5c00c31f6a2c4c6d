"""How much of the context's gain on real photos comes from the border of the map, where the network sees its padding.

Nothing is learned here but the whitening: attention of the outermost locations is set to nearly nothing. The photos are
halved as by `context_photos`. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.arena import Setting
from benchmarks.bars import Value
from benchmarks.context_photos import frozen_trunk, halves
from benchmarks.photos import test_data
from benchmarks.rows import changed
from lrcr.cli.terminal import track
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import Context, LocalModel
from lrcr.models.zoo import open_model
from lrcr.training.loop import train

_SETTINGS = [Setting(), Setting(0.4)]
_NEARLY_NOTHING = 1e-3


def run() -> Iterator[Value]:
    """No smoothing and the average of 3 × 3, each with and without the border, one codebook seed."""
    params = frozen_trunk(test_data())
    folders, arenas = halves(params)
    for kind in ("none", "average"):
        own = changed(params, {"smoothing": {"kind": kind}, "train": {"epochs": 0}})
        for leave in (False, True):
            parts = []
            for half in (0, 1):
                with tempfile.TemporaryDirectory() as folder:
                    train(own, folders[1 - half], None, Path(folder, "model.pt"), track=track)
                    model, _ = open_model(Path(folder, "model.pt"))
                model = ready_for_inference(model, torch.device("cpu"))
                parts.append(arenas[half].score(_without_border(model) if leave else model, _SETTINGS, seed=0))
            for setting in _SETTINGS:
                together = pd.concat([part[setting].table for part in parts])
                border, count = "left aside" if leave else "kept", round(setting.share * params.extract.descriptors)
                name = f"smoothing {kind}, border {border}, {count} descriptors"
                for setup in ("medium", "hard"):
                    yield Value(f"{name}: mAP ({setup})", float(np.nanmean(together[setup])))


def _without_border(model: LocalModel) -> LocalModel:
    """The model with nearly no attention at the outermost locations of maps that have inner ones."""
    whole = model.context

    def context(features: Tensor) -> Context:
        found = whole(features)
        if min(found.attention.shape[1:], default=0) < 3:
            return found
        inner = torch.full_like(found.attention, _NEARLY_NOTHING)
        inner[:, 1:-1, 1:-1] = 1
        return replace(found, attention=found.attention * inner)

    model.context = context
    return model
