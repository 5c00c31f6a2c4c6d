import pytest
import torch
from torch import nn

from lrcr.training.checkpoint import TrainingState, resume, save_checkpoint

from .small import copy_state, same


def train_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    images = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


def make(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network with BatchNorm, and Adam, whose next step depends on the ones before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def test_model_optimiser_and_history_continue_where_they_were(tmp_path):
    whole, optimizer = make(0)
    train_steps(whole, optimizer, 3)
    state = TrainingState([{"epoch": 1, "loss": 0.5}], copy_state(whole), 37.5)
    save_checkpoint(tmp_path / "all.pt", state, whole, optimizer)
    continued, other = make(1)
    found = resume(tmp_path / "all.pt", continued, other)
    assert (found.history, found.best_score) == (state.history, 37.5)
    assert same(found.weights, copy_state(whole)) and same(continued.state_dict(), whole.state_dict())
    for model, its_optimizer in ((whole, optimizer), (continued, other)):
        train_steps(model, its_optimizer, 2)
    assert same(continued.state_dict(), whole.state_dict())
    assert not same(found.weights, whole.state_dict()), "the best weights are a copy"


def test_without_a_checkpoint_training_starts_at_the_beginning(tmp_path):
    model, optimizer = make(0)
    before = copy_state(model)
    state = resume(tmp_path / "all.pt", model, optimizer)
    assert (state.history, state.best, state.best_score) == ([], None, -float("inf"))
    assert same(before, model.state_dict())


def test_a_failed_write_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model, optimizer = make(0)
    save_checkpoint(tmp_path / "all.pt", TrainingState([{"epoch": 1}]), model, optimizer)
    monkeypatch.setattr(torch, "save", lambda contents, path: path.write_bytes(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(tmp_path / "all.pt", TrainingState([{"epoch": 1}, {"epoch": 2}]), model, optimizer)
    assert [file.name for file in tmp_path.iterdir()] == ["all.pt"]
    assert resume(tmp_path / "all.pt", model, optimizer).history == [{"epoch": 1}]


def test_weights_need_a_validated_epoch():
    with pytest.raises(AssertionError, match="no epoch was validated"):
        _ = TrainingState().weights
