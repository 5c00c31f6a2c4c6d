from pathlib import Path

import numpy as np
import pytest
import torch

from lrcr.models.factory import build_model

from .small import RewardChanges, small


@pytest.fixture
def changes_rewarded(monkeypatch) -> None:
    """No training keeps its start."""
    monkeypatch.setattr("lrcr.training.train.make_validator", RewardChanges)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> Path:
    """A file of weights, with which BatchNorm is frozen."""
    path = tmp_path_factory.mktemp("weights") / "trunk.npz"
    trunk = build_model(small("seed=9")).backbone.trunk
    generator = torch.Generator().manual_seed(0)
    state = {name: tensor.numpy() for name, tensor in trunk.state_dict().items()}
    for name in state:
        if name.endswith("running_var"):
            state[name] = torch.rand(state[name].shape, generator=generator).numpy() / 2 + 0.5
    np.savez(path, **state)
    return path


@pytest.fixture(scope="session")
def nine(tmp_path_factory, draw_dataset) -> Path:
    """Nine landmarks with two photos each."""
    labels = [f"landmark {i % 9}" for i in range(18)]
    return draw_dataset(tmp_path_factory.mktemp("data") / "nine", [(48, 36)] * 18, labels)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory, draw_dataset) -> Path:
    """Four landmarks with photos of three shapes, interleaved."""
    sizes = [(48, 36), (36, 48), (32, 32)] * 4
    labels = [f"landmark {i % 4}" for i in range(12)]
    return draw_dataset(tmp_path_factory.mktemp("data") / "shapes", sizes, labels)
