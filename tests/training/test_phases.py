"""Phases of training against a trainer that only counts."""

import pytest
import torch
from torch import nn

from lrcr.training.phases import Phases

from .small import Killed, kill_after


class Counter:
    """A trainer whose only weight is the number of epochs that it was trained for."""

    def __init__(self, start: float = 0.0, *, frozen: bool = False) -> None:
        self.trained = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.trained.weight, start)
        self.trained.requires_grad_(not frozen)
        self.optimizer = torch.optim.SGD(self.trained.parameters(), lr=0.1)
        self.ran: list[tuple[int, int]] = []

    def run_epoch(self, epoch: int, first: int) -> dict[str, float]:
        self.ran.append((epoch, first))
        with torch.no_grad():
            self.trained.weight += 1
        return {"epoch": epoch, "loss": 1 / epoch}


def weight(state) -> float:
    return state.weights["weight"].item()


def make_phases(folder, scores, *, every=1, log=None, done=0) -> tuple[Phases, list[dict[str, float]]]:
    logged: list[dict[str, float]] = []
    given = iter(scores)
    return Phases(folder, lambda: next(given), every, log or logged.append, done), logged


def test_the_first_of_the_best_epochs_is_kept(tmp_path):
    phases, logged = make_phases(tmp_path, [5.0, 10.0, 30.0, 30.0, 20.0])
    trainer = Counter()
    state = phases.run("all", trainer, epochs=4)
    assert (weight(state), state.best_score) == (2, 30)
    assert trainer.trained.weight.item() == 4, "the trainer keeps its last weights"
    assert trainer.ran == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert logged == state.history
    assert logged[0] == {"epoch": 0, "validation_map": 5.0}
    assert logged[2] == {"epoch": 2, "loss": 0.5, "validation_map": 30.0}


@pytest.mark.parametrize(
    ("every", "done", "validated"),
    [(1, 0, [0, 1, 2, 3, 4]), (2, 0, [0, 2, 4]), (3, 0, [0, 3, 4]), (3, 2, [2, 5, 6]), (9, 2, [2, 6])],
)
def test_validation_happens_every_so_many_epochs_of_a_phase_and_at_its_end(tmp_path, every, done, validated):
    phases, logged = make_phases(tmp_path, range(9), every=every, done=done)
    phases.run("all", Counter(), epochs=4)
    assert [values["epoch"] for values in logged if "validation_map" in values] == validated


def test_a_later_phase_counts_on_and_says_where_it_began(tmp_path):
    phases, logged = make_phases(tmp_path, range(9))
    phases.run("coarse", Counter(), epochs=2)
    trainer = Counter()
    phases.run("fine", trainer, epochs=2)
    assert trainer.ran == [(3, 3), (4, 3)]
    assert [values["epoch"] for values in logged] == [0, 1, 2, 2, 3, 4]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["coarse.pt", "fine.pt"]


def test_a_phase_without_validation_ends_with_its_last_weights(tmp_path):
    phases, logged = make_phases(tmp_path, [])
    trainer = Counter()
    state = phases.run("pretrain", trainer, epochs=3, validated=False)
    assert trainer.trained.weight.item() == 3 and state.best is None
    assert logged == [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2, 3)]
    again = Counter()
    make_phases(tmp_path, [])[0].run("pretrain", again, epochs=3, validated=False)
    assert again.trained.weight.item() == 3 and again.ran == []


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_killed_phase_logs_what_it_has_and_does_the_rest(tmp_path, killed_after):
    scores = [5.0, 10.0, 30.0, 20.0]
    phases, expected = make_phases(tmp_path / "whole", scores)
    whole = phases.run("all", Counter(), epochs=3)
    killed, _ = make_phases(tmp_path / "killed", scores, log=kill_after(killed_after))
    with pytest.raises(Killed):
        killed.run("all", Counter(), epochs=3)
    phases, logged = make_phases(tmp_path / "killed", scores[killed_after + 1 :])
    trainer = Counter(start=99.0)
    state = phases.run("all", trainer, epochs=3)
    assert logged == expected
    assert trainer.ran == [(epoch, 1) for epoch in range(killed_after + 1, 4)]
    assert (weight(state), state.best_score) == (weight(whole), whole.best_score) == (2, 30)


def test_a_finished_phase_is_not_trained_again(tmp_path):
    phases, _ = make_phases(tmp_path, [5.0, 10.0, 30.0])
    whole = phases.run("all", Counter(), epochs=2)
    phases, logged = make_phases(tmp_path, [])
    trainer = Counter()
    assert weight(phases.run("all", trainer, epochs=2)) == weight(whole)
    assert trainer.ran == [] and len(logged) == 3


def test_the_start_is_kept_if_no_epoch_is_better_and_a_warning_says_so(tmp_path, caplog):
    phases, _ = make_phases(tmp_path, [30.0, 20.0, 30.0, 10.0])
    state = phases.run("all", Counter(start=7.0), epochs=3)
    assert (weight(state), state.best_score) == (7, 30)
    [record] = caplog.records
    assert record.message.startswith("training: no epoch is better on the validation photos than the start")


@pytest.mark.parametrize(("known", "best"), [(30.0, 7), (9.0, 8)])
def test_a_start_whose_score_is_known_is_not_validated_again(tmp_path, known, best):
    phases, logged = make_phases(tmp_path, [10.0])
    state = phases.run("fine", Counter(start=7.0), epochs=1, start_score=known)
    assert logged == [{"epoch": 0, "validation_map": known}, {"epoch": 1, "loss": 1.0, "validation_map": 10.0}]
    assert (weight(state), state.best_score) == (best, max(known, 10))


def test_a_phase_of_no_epochs_validates_its_start(tmp_path, caplog):
    phases, logged = make_phases(tmp_path, [30.0])
    trainer = Counter(start=7.0)
    state = phases.run("joint", trainer, epochs=0)
    assert (weight(state), state.best_score, trainer.ran) == (7, 30, [])
    assert logged == [{"epoch": 0, "validation_map": 30.0}] and not caplog.records


def test_with_nothing_to_train_the_weights_stay_and_a_warning_says_so(tmp_path, caplog):
    phases, logged = make_phases(tmp_path, [])
    trainer = Counter(start=5.0, frozen=True)
    state = phases.run("all", trainer, epochs=3)
    assert weight(state) == 5 and trainer.ran == logged == [] and not [*tmp_path.iterdir()]
    [record] = caplog.records
    assert record.levelname == "WARNING" and record.message.startswith("training: nothing to train (train.freeze, ")


def test_the_loss_of_the_validation_photos_stands_beside_every_validation_map(tmp_path):
    scores, losses, logged = iter([5.0, 10.0]), iter([0.9, 0.7]), []
    phases = Phases(tmp_path, lambda: next(scores), 2, logged.append, loss=lambda: next(losses))
    phases.run("all", Counter(), epochs=2)
    measured = [(values["epoch"], values["validation_loss"]) for values in logged if "validation_loss" in values]
    assert measured == [(0, 0.9), (2, 0.7)]
    assert ["validation_map" in values for values in logged] == [True, False, True]
