import numpy as np
import pytest
import torch
from torch import Tensor

from lrcr.config.params import Params
from lrcr.errors import ParamsError
from lrcr.models.factory import open_model
from lrcr.training.checkpoint import TrainingState
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.methods import Classification, Listwise, Method, Tuples, method_of
from lrcr.training.phases import Trainer
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer

from .small import (
    Killed,
    context,
    copy_state,
    kill_after_line,
    make_setup,
    moved,
    parts,
    run,
    same,
    small,
    small_global,
)
from .small import weights as read_weights

WEIGHTS = "backbone.weights=trunk.npz"  # is not read here


@pytest.mark.parametrize(
    ("params", "method"),
    [
        (small(), Tuples),
        (small_global("gem"), Tuples),
        (small_global("solar"), Tuples),
        (small_global("apgem"), Listwise),
        (small_global("cfcd"), Classification),
        (small_global("gem", "train.method=listwise"), Listwise),
        (small_global("gem", "train.method=classification"), Classification),
        (small_global("cfcd", "train.method=tuples"), Tuples),
        (small_global("apgem", "train.method=classification"), Classification),
    ],
)
def test_the_params_name_the_method_and_else_the_model_does(params, method):
    assert type(method_of(params)) is method


@pytest.mark.parametrize(
    ("params", "key"),
    [
        (small(WEIGHTS), "train.tuples.negatives"),
        (small_global("solar"), "train.tuples.negatives"),
        (small_global("apgem"), "train.listwise.chunk_size"),
        (small_global("cfcd"), "train.classification.batch_size"),
    ],
)
def test_each_method_names_what_to_lower_where_memory_runs_out(params, key):
    """Tuples pass one at a time."""
    assert method_of(params).memory_key == key


SHARED = [
    small(WEIGHTS, "train.tuples.batch_size=4"),
    small("train.tuples.batch_size=2"),
    small_global("gem", WEIGHTS, "train.tuples.batch_size=2"),
    small_global("apgem", WEIGHTS, "train.listwise.batch_size=7", "train.listwise.chunk_size=3"),
    small_global("apgem"),
    small_global("cfcd", "train.classification.batch_size=16"),
    small_global("cfcd", "train.classification.batch_size=10", "train.classification.fine_epochs=0"),
]


@pytest.mark.parametrize("params", SHARED)
def test_two_ranks_share_a_training_that_one_does_alike(params):
    method_of(params).require_even_shares(2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            small(WEIGHTS, "train.tuples.batch_size=3"),
            "train.tuples.batch_size: 3 cannot be shared evenly by 2 ranks; give a multiple",
        ),
        (
            small_global("cfcd", "train.classification.batch_size=17"),
            "train.classification.batch_size: 17 cannot be shared evenly by 2 ranks; give a multiple",
        ),
        (
            small_global("gem", "train.method=classification", "train.classification.batch_size=24"),
            "train.classification.batch_size: 24 in tuples of 8 cannot be shared evenly by 2 ranks; give a multiple",
        ),
        (
            small_global("cfcd", "train.classification.batch_size=6"),
            "train.classification.batch_size: 6 in tuples of 8 cannot be shared evenly by 2 ranks; give a multiple",
        ),
    ],
)
def test_what_two_ranks_would_not_train_alike_is_refused(params, message):
    with pytest.raises(ParamsError) as error:
        method_of(params).require_even_shares(2)
    assert str(error.value) == message


class Dictated:
    """Phases that train nothing: each ends with the weights and the score that it is told.

    If the score of its start is known and no lower, the start is the best. A score that is not known is `START`.
    """

    START = 5.0

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)
        self.ran: list[tuple[str, Trainer, int]] = []
        self.known: list[float | None] = []
        self.starts: list[dict[str, Tensor]] = []
        self.states: dict[str, TrainingState] = {}

    def run(
        self, name: str, trainer: Trainer, *, epochs: int, validated: bool = True, start_score: float | None = None
    ) -> TrainingState:
        self.ran.append((name, trainer, epochs))
        self.known.append(start_score)
        self.starts.append(copy_state(trainer.trained))
        best, score = copy_state(trainer.trained), next(self.scores)
        if epochs:
            add(trainer.trained, len(self.ran))
            if start_score is None or score > start_score:
                best = copy_state(trainer.trained)
            add(trainer.trained, 100.0)  # later epochs are worse
        history = [{"validation_map": self.START if start_score is None else start_score}]
        self.states[name] = TrainingState(history, best, max(score, history[0]["validation_map"]))
        return self.states[name]

    @property
    def order(self) -> list[tuple[str, int]]:
        """Name and epochs of each phase."""
        return [(name, epochs) for name, _, epochs in self.ran]


def add(module: torch.nn.Module, value: float) -> None:
    """Add a value to all parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(value)


def dictate(params: Params, folder, *scores: float) -> tuple[Dictated, dict[str, Tensor], dict[str, Tensor]]:
    """Train by dictation; also the model's weights before and after."""
    phases, setup = Dictated(*scores), make_setup(params, folder)
    before = copy_state(setup.model)
    method: Method = method_of(params)
    method.train(setup, phases)
    return phases, before, copy_state(setup.model)


def test_jointly_all_parts_are_trained_in_one_phase(landmarks, pretrained):
    phases, before, after = dictate(context(pretrained, "train.epochs=3"), landmarks, 50.0)
    assert phases.order == [("all", 3)]
    assert same(phases.starts[0], before) and same(after, phases.states["all"].weights)
    rates = phases.ran[0][1].parts.rates
    assert {part for part, rate in rates.items() if rate} == {"backbone", "smoothing", "graph"}


def joined(smoothed: dict[str, Tensor], refined: dict[str, Tensor], rest: dict[str, Tensor]) -> dict[str, Tensor]:
    """The smoothing of one model, the graph of another, and all else of a third."""
    of_part = {"smoothing": smoothed, "graph": refined}
    return {name: of_part.get(name.split(".")[0], rest)[name] for name in rest}


@pytest.mark.parametrize(
    ("scores", "better", "is_joined"),
    [
        ((50.0, 40.0, 60.0), 0, True),
        ((40.0, 50.0, 60.0), 1, True),
        ((50.0, 50.0, 50.0), 0, True),
        ((50.0, 40.0, 49.0), 0, False),
        ((40.0, 50.0, 45.0), 1, False),
    ],
)
def test_separately_each_part_starts_anew_and_the_best_are_joined_unless_one_alone_is_better(
    landmarks, pretrained, scores, better, is_joined
):
    params = context(pretrained, "train.tuples.schedule=separate", "train.epochs=3")
    phases, before, after = dictate(params, landmarks, *scores)
    assert phases.order == [("smoothing", 3), ("graph", 3), ("joint", 0)]
    assert all(same(start, before) for start in phases.starts[:2])
    assert phases.known == [None, Dictated.START, None], "the same start is validated once"
    for name, trainer, *_ in phases.ran[:2]:
        assert {part for part, rate in trainer.parts.rates.items() if rate} == {"backbone", name}
    alone = [phases.states[name].weights for name in ("smoothing", "graph")]
    assert same(phases.starts[2], joined(*alone, rest=alone[better]))
    assert same(after, phases.starts[2] if is_joined else alone[better])


@pytest.mark.parametrize(
    ("scores", "best"), [((50, 40, 60), "joint"), ((50, 40, 50), "joint"), ((50, 40, 49), "better"), ((40, 50, 45), "")]
)
def test_then_jointly_both_are_trained_from_the_joined_weights(landmarks, pretrained, scores, best):
    params = context(pretrained, "train.tuples.schedule=separate_then_joint", "train.epochs=3")
    phases, before, after = dictate(params, landmarks, *scores)
    assert phases.order == [("smoothing", 3), ("graph", 3), ("joint", 3)]
    assert all(same(start, before) for start in phases.starts[:2])
    alone = [phases.states[name].weights for name in ("smoothing", "graph")]
    better = alone[int(scores[1] > scores[0])]
    assert same(phases.starts[2], joined(*alone, rest=better))
    rates = phases.ran[2][1].parts.rates
    assert {part for part, rate in rates.items() if rate} == {"backbone", "smoothing", "graph"}
    assert same(after, phases.states["joint"].weights if best == "joint" else better)


@pytest.mark.parametrize(("scores", "best"), [((50, 60), "smoothing"), ((50, 50), "graph"), ((50, 40), "graph")])
def test_sequentially_smoothing_is_trained_on_top_of_the_best_graph(landmarks, pretrained, scores, best):
    params = context(pretrained, "train.tuples.schedule=sequential", "train.epochs=3")
    phases, before, after = dictate(params, landmarks, *scores)
    assert phases.order == [("graph", 3), ("smoothing", 3)]
    assert same(phases.starts[0], before)
    assert same(phases.starts[1], phases.states["graph"].weights)
    assert phases.known == [None, scores[0]], "the weights that end a phase and start the next are validated once"
    for name, trainer, *_ in phases.ran:
        assert {part for part, rate in trainer.parts.rates.items() if rate} == {"backbone", name}
    assert same(after, phases.states[best].weights)


@pytest.mark.parametrize(("scores", "best"), [((50, 60), "fine"), ((50, 50), "coarse"), ((50, 40), "coarse")])
def test_classification_continues_from_its_best_epoch_with_hard_negatives(nine, scores, best):
    params = small_global("cfcd", "train.classification={epochs: 4, fine_epochs: 3, batch_size: 16}")
    phases, before, after = dictate(params, nine, *scores)
    assert phases.order == [("coarse", 4), ("fine", 3)]
    coarse, fine = (trainer for _, trainer, *_ in phases.ran)
    assert (coarse.fine, fine.fine) == (False, True)
    assert (coarse.epochs, fine.epochs) == (4, 3)
    assert same({f"model.{name}": tensor for name, tensor in before.items()}, without_classifier(phases.starts[0]))
    assert same(phases.starts[1], phases.states["coarse"].weights), "of the model and its classifier"
    assert phases.known == [None, scores[0]], "the weights that end a phase and start the next are validated once"
    kept = without_classifier(phases.states[best].weights)
    assert same({f"model.{name}": tensor for name, tensor in after.items()}, kept)


def without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith("model.")}


def test_classification_may_have_no_second_phase(nine):
    params = small_global("cfcd", "train.classification.fine_epochs=0", "train.epochs=5")
    phases, _, after = dictate(params, nine, 50.0)
    assert phases.order == [("coarse", 5)]
    kept = without_classifier(phases.states["coarse"].weights)
    assert same({f"model.{name}": tensor for name, tensor in after.items()}, kept)


@pytest.mark.parametrize(("overrides", "epochs"), [((), 2), (("train.listwise.epochs=4",), 4)])
def test_listwise_training_has_one_phase(nine, overrides, epochs):
    phases, before, after = dictate(small_global("apgem", *overrides), nine, 50.0)
    assert phases.order == [("all", epochs)]
    assert same(phases.starts[0], before) and same(after, phases.states["all"].weights)


@pytest.mark.parametrize(
    ("method", "trainer", "epochs"),
    [("classification", ClassificationTrainer, [0, 1, 2, 2, 3]), ("listwise", ListwiseTrainer, [0, 1, 2])],
)
def test_a_gem_model_is_trained_by_the_method_that_is_named(
    tmp_path, nine, monkeypatch, changes_rewarded, method, trainer, epochs
):
    ran: list[int] = []
    run_epoch = trainer.run_epoch
    monkeypatch.setattr(
        trainer, "run_epoch", lambda self, epoch, first: ran.append(epoch) or run_epoch(self, epoch, first)
    )
    logged = run(small_global("gem", f"train.method={method}"), nine, tmp_path / "model.pt", nine)
    assert [values["epoch"] for values in logged] == epochs
    assert ran == [values["epoch"] for values in logged if "loss" in values] == list(range(1, epochs[-1] + 1))
    assert all(np.isfinite(list(values.values())).all() for values in logged)
    model, manifest = open_model(tmp_path / "model.pt")
    assert manifest.params["model"]["name"] == "gem" and manifest.params["train"]["method"] == method
    assert set(manifest.params["train"]) & {"tuples", "listwise", "classification"} == {method}
    off_the_shelf = make_setup(small_global("gem"), nine).model.state_dict()
    assert {"backbone.trunk.conv1.weight", "pooling.p"} <= moved(off_the_shelf, model.state_dict())


SEPARATE = ("train.freeze=backbone", "train.epochs=1", "train.tuples.schedule=separate")


@pytest.fixture
def seen(monkeypatch) -> list[tuple[int, int, dict[str, Tensor], dict[str, Tensor]]]:
    """Of each epoch: its number, the first of its phase, the weights before and after it."""
    seen, epochs = [], TupleTrainer.run_epoch

    def run_epoch(self, epoch, first):
        before = copy_state(self.setup.model)
        values = epochs(self, epoch, first)
        seen.append((epoch, first, before, copy_state(self.setup.model)))
        return values

    monkeypatch.setattr(TupleTrainer, "run_epoch", run_epoch)
    return seen


@pytest.mark.usefixtures("changes_rewarded")
def test_a_real_training_of_each_alone_and_then_both(tmp_path, seen, landmarks, pretrained):
    params = context(pretrained, *SEPARATE[:2], "train.tuples.schedule=separate_then_joint")
    logged = run(params, landmarks, tmp_path / "model.pt")
    assert [(epoch, first) for epoch, first, *_ in seen] == [(1, 1), (2, 2), (3, 3)]
    assert [(values["epoch"], "loss" in values) for values in logged] == [
        *[(0, False), (1, True)],
        *[(1, False), (2, True)],
        *[(2, False), (3, True)],
    ]
    assert logged[0]["validation_map"] == logged[2]["validation_map"] < logged[4]["validation_map"]
    changed = [parts(moved(before, after)) for _, _, before, after in seen]
    assert changed == [{"smoothing"}, {"graph"}, {"smoothing", "graph"}]
    (_, _, start, smoothed), (_, _, again, refined), (_, _, merged, _) = seen
    assert same(start, again)
    assert same(merged, joined(smoothed, refined, rest=smoothed))


@pytest.mark.usefixtures("changes_rewarded")
def test_a_real_training_of_each_alone_joins_them_as_they_are(tmp_path, seen, landmarks, pretrained):
    run(context(pretrained, *SEPARATE), landmarks, tmp_path / "model.pt")
    (_, _, _, smoothed), (_, _, _, refined) = seen
    assert same(read_weights(tmp_path / "model.pt"), joined(smoothed, refined, rest=smoothed))


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize(
    ("schedule", "lines", "killed"),
    [("separate", 5, [5]), ("separate_then_joint", 6, [1, 2, 3, 4, 5, 6]), ("sequential", 4, [2, 3])],
)
def test_a_killed_schedule_continues_to_the_same_weights(tmp_path, landmarks, pretrained, schedule, lines, killed):
    params = context(pretrained, *SEPARATE[:2], f"train.tuples.schedule={schedule}")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    assert len(whole) == lines
    for line in killed:
        with pytest.raises(Killed):
            train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after_line(line))
        assert run(params, landmarks, tmp_path / "killed.pt") == whole
        assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))
