"""Whole trainings: reproducible, continued after a kill, and careful with what they start from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lrcr.config.params import Params
from lrcr.data.dataset import open_dataset
from lrcr.errors import DatasetError, LrcrError, OutOfMemoryError, WeightsError
from lrcr.features.extraction import sample_photos
from lrcr.models.backbone import Backbone
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_model
from lrcr.progress import Progress
from lrcr.training import local_objective
from lrcr.training.maps import TrunkMaps
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.validation import GlobalValidator

from .small import (
    CPU,
    SIZE,
    Killed,
    RewardChanges,
    context,
    copy_state,
    kill_after,
    kill_after_line,
    moved,
    parts,
    run,
    same,
    small,
    small_global,
)
from .small import weights as read_weights

MODELS = ["mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, landmarks) -> tuple[Path, list[dict[str, float]]]:
    """Two undisturbed epochs on random weights, of which one is stored."""
    model_file = tmp_path_factory.mktemp("model") / "model.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setattr("lrcr.training.train.make_validator", RewardChanges)
        logged = run(small(), landmarks, model_file)
    assert max(logged, key=lambda values: values["validation_map"])["epoch"] > 0
    return model_file, logged


@pytest.fixture
def epochs_run(monkeypatch) -> list[int]:
    """The epochs that are computed from now on, not read from a checkpoint."""
    epochs: list[int] = []
    run_epoch = TupleTrainer.run_epoch
    monkeypatch.setattr(
        TupleTrainer, "run_epoch", lambda self, epoch, **kw: epochs.append(epoch) or run_epoch(self, epoch, **kw)
    )
    return epochs


def test_the_start_and_each_epoch_log_their_values(tmp_path, landmarks):
    start, *logged = run(small(), landmarks, tmp_path / "model.pt")
    assert set(start) == {"epoch", "validation_map"}
    assert start["epoch"] == 0 and 0 <= start["validation_map"] <= 100
    assert [values["epoch"] for values in logged] == [1, 2]
    assert [values["rate"] for values in logged] == [1e-3, 0.5e-3]
    for values in logged:
        assert set(values) == {"epoch", "loss", "rate", "negative_distance", "validation_map"}
        assert np.isfinite(values["loss"]) and values["loss"] > 0
        assert 0 <= values["negative_distance"] <= 2 and 0 <= values["validation_map"] <= 100


def test_the_manifest_names_params_and_inputs(trained, landmarks):
    _, manifest = open_model(trained[0])
    assert manifest.params == small().sections(*MODEL_SECTIONS)
    assert manifest.inputs == {"train": open_dataset(landmarks).fingerprint, "compute": "float32"}
    assert manifest.facts == {"device": "cpu", "threads": 1}


@pytest.mark.usefixtures("changes_rewarded")
def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path, trained, landmarks):
    assert run(small(), landmarks, tmp_path / "again.pt") == trained[1]
    assert same(read_weights(tmp_path / "again.pt"), read_weights(trained[0]))
    run(small("seed=1"), landmarks, tmp_path / "other.pt")
    assert not same(read_weights(tmp_path / "other.pt"), read_weights(trained[0]))


def kill(params: Params, folder: Path, model_file: Path, after: int = 1) -> None:
    with pytest.raises(Killed):
        train(params, folder, None, model_file, log=kill_after(after))


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_training_continues_to_the_same_weights(tmp_path, trained, landmarks, state, epochs_run, after):
    kill(small(), landmarks, tmp_path / "model.pt", after)
    assert not (tmp_path / "model.pt").exists()
    assert run(small(), landmarks, tmp_path / "model.pt") == trained[1]
    assert epochs_run == [1, 2]
    assert same(read_weights(tmp_path / "model.pt"), read_weights(trained[0]))
    assert not list(state.iterdir())


@pytest.mark.usefixtures("changes_rewarded")
def test_unfinished_training_under_other_params_is_not_continued(tmp_path, trained, landmarks, epochs_run):
    kill(small("train.tuples.margin=0.5"), landmarks, tmp_path / "a.pt")
    assert run(small(), landmarks, tmp_path / "b.pt") == trained[1]
    assert epochs_run == [1, 1, 2]


@pytest.mark.usefixtures("changes_rewarded")
def test_unfinished_training_of_other_source_code_is_not_continued(
    tmp_path, trained, landmarks, monkeypatch, epochs_run, state
):
    with monkeypatch.context() as edited:
        edited.setattr("lrcr.storage.state.source_fingerprint", lambda step: f"{step} before the edit")
        kill(small(), landmarks, tmp_path / "a.pt")
    [begun] = state.iterdir()
    assert run(small(), landmarks, tmp_path / "b.pt") == trained[1]
    assert epochs_run == [1, 1, 2], "the edited program starts at the beginning"
    assert [*state.iterdir()] == [begun] and (begun / "all.pt").exists(), "and keeps the state of the other"
    with monkeypatch.context() as undone:
        undone.setattr("lrcr.storage.state.source_fingerprint", lambda step: f"{step} before the edit")
        assert run(small(), landmarks, tmp_path / "c.pt") == trained[1]
    assert epochs_run == [1, 1, 2, 2], "which continues it"
    assert not list(state.iterdir())


def test_the_source_code_of_a_training_is_that_of_the_whole_step(tmp_path, landmarks, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("lrcr.storage.state.source_fingerprint", lambda step: asked.append(step) or "")
    run(small("train.epochs=0"), landmarks, tmp_path / "model.pt")
    assert asked == ["lrcr.training.train"]


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize(
    "overrides",
    [
        ("train.tuples.learning_rates.whitening=1e-3",),
        ("train.tuples.losses={contrastive: 0, asmk: 1, words: 4}", "smoothing.kind=learnable", "graph.kind=gcn"),
    ],
    ids=["frozen BatchNorm", "words of an epoch"],
)
def test_a_killed_training_of_a_pretrained_trunk_continues_to_the_same_weights(
    tmp_path, landmarks, pretrained, overrides
):
    params = small(f"backbone.weights={pretrained}", *overrides)
    whole = run(params, landmarks, tmp_path / "whole.pt")
    kill(params, landmarks, tmp_path / "killed.pt")
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))


@pytest.mark.usefixtures("changes_rewarded")
def test_a_killed_training_of_convnext_continues_to_the_same_weights(tmp_path, landmarks):
    """Its trunk was published with stochastic depth, which would consume random numbers."""
    params = small("backbone.name=convnext_tiny", "train.tuples.learning_rates.backbone=1e-4")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    kill(params, landmarks, tmp_path / "killed.pt")
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))


@pytest.fixture(scope="module")
def four(tmp_path_factory, draw_dataset) -> Path:
    """A validation set: two landmarks with two photos each."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "four", [(48, 36)] * 4, ["x", "x", "y", "y"])


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize("name", MODELS)
def test_every_global_model_trains_and_continues_after_it_was_killed(tmp_path, nine, four, name, state):
    params = small_global(name)
    whole = run(params, nine, tmp_path / "whole.pt", four)
    assert [values["epoch"] for values in whole] == ([0, 1, 2, 2, 3] if name == "cfcd" else [0, 1, 2])
    assert all(np.isfinite(list(values.values())).all() for values in whole)
    for line in range(1, len(whole)):
        with pytest.raises(Killed):
            train(params, nine, four, tmp_path / "killed.pt", log=kill_after_line(line))
        assert run(params, nine, tmp_path / "killed.pt", four) == whole
        assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))
    before, after = build_model(params).state_dict(), read_weights(tmp_path / "whole.pt")
    counters = {key for key in before if key.endswith("num_batches_tracked")}
    fixed = {"pooling.p"} if name == "cfcd" else {key for key in before if key.endswith(STATISTICS)}
    changed = moved(before, after)
    assert changed | counters == set(before) - fixed | counters, (
        "only classification trains BatchNorm of random weights"
    )
    assert not list(state.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_without_epochs_every_global_model_is_off_the_shelf(tmp_path, nine, name):
    params = small_global(name, "train.epochs=0")
    assert run(params, nine, tmp_path / "model.pt") == []
    learned = {"projection.bias"} if name == "apgem" else set()
    assert moved(build_model(params).state_dict(), read_weights(tmp_path / "model.pt")) == learned, "the mean"


def test_without_epochs_a_local_model_learns_its_whitening_only(tmp_path, landmarks, pretrained, state):
    params = small("train.epochs=0", f"backbone.weights={pretrained}")
    assert run(params, landmarks, tmp_path / "model.pt") == []
    changed = moved(build_model(params).state_dict(), read_weights(tmp_path / "model.pt"))
    assert changed == {"whitening.weight", "whitening.bias"}
    assert not list(state.iterdir())


@torch.inference_mode()
def smoothed_features(model, folder, params) -> np.ndarray:
    photos = sample_photos(open_dataset(folder).photos(), params.whitening.images, params.seed)
    batches = TrunkMaps(model.backbone, SIZE, CPU).batches(photos)
    found = [local for _, maps in batches for local in model.describe_maps(maps, [1.0], 60, whiten=False)]
    return np.concatenate([local.descriptors.numpy() for local in found]).astype(float)


@pytest.mark.parametrize(
    "overrides",
    [("train.epochs=0",), ("train.pretrain={epochs: 2, batch_size: 5}", "train.tuples.learning_rates.backbone=0")],
)
def test_the_whitening_is_learned_on_the_features_of_the_trunk_before_the_method(tmp_path, landmarks, overrides):
    """After pretraining, if there is one."""
    params, model_file = small(*overrides), tmp_path / "model.pt"
    run(params, landmarks, model_file, val=landmarks)
    model, _ = open_model(model_file)
    weight, bias = model.whitening.weight.detach().numpy(), model.whitening.bias.detach().numpy()
    whitened = smoothed_features(model, landmarks, params) @ weight.T + bias
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(8), atol=1e-2)


@pytest.mark.usefixtures("changes_rewarded")
def test_a_given_whitening_is_kept(tmp_path, landmarks):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(8, 64)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    np.savez(tmp_path / "w.npz", whiten_weight=weight, whiten_bias=bias)
    run(small(f"whitening.file={tmp_path / 'w.npz'}", "train.epochs=1"), landmarks, tmp_path / "model.pt")
    found = read_weights(tmp_path / "model.pt")
    np.testing.assert_array_equal(found["whitening.weight"], weight)
    np.testing.assert_array_equal(found["whitening.bias"], bias)
    assert set(open_model(tmp_path / "model.pt")[1].inputs) == {"train", "compute", "whitening"}


@pytest.mark.usefixtures("changes_rewarded")
def test_statistics_and_whitening_are_frozen(tmp_path, landmarks, pretrained):
    run(small(f"backbone.weights={pretrained}", "train.epochs=0"), landmarks, tmp_path / "before.pt", val=landmarks)
    run(small(f"backbone.weights={pretrained}"), landmarks, tmp_path / "after.pt", val=landmarks)
    before, after = read_weights(tmp_path / "before.pt"), read_weights(tmp_path / "after.pt")
    assert moved(before, after) == {
        name for name in before if not name.endswith(STATISTICS) and not name.startswith("whitening")
    }


@pytest.mark.parametrize(("scores", "best"), [([5.0, 10.0, 30.0, 30.0, 20.0], 2), ([30.0, 10.0, 30.0, 20.0, 20.0], 0)])
def test_the_first_of_the_best_is_stored_be_it_an_epoch_or_the_start(
    tmp_path, monkeypatch, landmarks, pretrained, scores, best
):
    seen: list[dict[str, Tensor]] = []

    def score(self):
        seen.append(copy_state(self.setup.model))
        return scores[len(seen) - 1]

    monkeypatch.setattr(GlobalValidator, "score", score)
    logged = run(small("train.epochs=4", f"backbone.weights={pretrained}"), landmarks, tmp_path / "model.pt")
    assert [values["validation_map"] for values in logged] == scores
    found = read_weights(tmp_path / "model.pt")
    assert [number for number, state in enumerate(seen) if not moved(found, state)] == [best]


def test_validation_happens_at_the_start_every_so_many_epochs_and_at_the_end(tmp_path, landmarks):
    logged = run(small("train.epochs=3", "train.validation.every=2"), landmarks, tmp_path / "model.pt")
    assert ["validation_map" in values for values in logged] == [True, False, True, True]


def test_the_loss_falls_where_a_little_can_be_learned(tmp_path, landmarks):
    overrides = ("train.epochs=5", "train.tuples.lr_decay=1", "train.tuples.queries_per_epoch=15")
    _, *logged = run(small(*overrides), landmarks, tmp_path / "model.pt")
    assert logged[-1]["loss"] < 0.7 * logged[0]["loss"]


def test_a_named_validation_set_is_used_and_recorded(tmp_path, monkeypatch, landmarks, four):
    given: list[tuple[int, int]] = []
    score = GlobalValidator.score

    def note(self):
        given.append((len(self.setup.images.photos), len(self.validation.images)))
        return score(self)

    monkeypatch.setattr(GlobalValidator, "score", note)
    run(small("train.epochs=1"), landmarks, tmp_path / "model.pt", four)
    run(small("train.epochs=1"), landmarks, tmp_path / "held_out.pt")
    assert given == [(16, 4)] * 2 + [(13, 3)] * 2, "images to train and to validate on, at the start and at the end"
    assert open_model(tmp_path / "model.pt")[1].inputs["val"] == open_dataset(four).fingerprint
    assert "val" not in open_model(tmp_path / "held_out.pt")[1].inputs


@pytest.mark.parametrize("labels", [[None] * 4, ["a", "a", None, None]])
def test_photos_without_landmarks_are_refused(tmp_path, draw_dataset, labels):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 4, labels)
    with pytest.raises(DatasetError, match="data: validation holds out landmarks"):
        run(small(), folder, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_too_few_landmarks_for_the_negatives_are_refused(tmp_path, landmarks, monkeypatch):
    """Before the whitening is learned or a photo is decoded."""
    monkeypatch.setattr("lrcr.data.loading.load_image", lambda *_, **__: pytest.fail("a photo is decoded"))
    with pytest.raises(DatasetError, match="training: 9 negatives need 10 landmarks, but the pool holds 5"):
        run(small("train.tuples.negatives=9"), landmarks, tmp_path / "model.pt")


def test_too_few_photos_for_the_whitening_are_refused(tmp_path, landmarks):
    with pytest.raises(WeightsError, match="whitening: 8 dimensions need more than 8 features"):
        run(small("whitening.images=2", "whitening.max_descriptors=4"), landmarks, tmp_path / "model.pt")


def test_a_loss_that_is_not_finite_is_reported(tmp_path, monkeypatch, landmarks):
    monkeypatch.setattr(local_objective, "contrastive_loss", lambda queries, *_: queries.sum() * float("nan"))
    with pytest.raises(LrcrError, match=r"training: the loss is nan at query .*; lower train\.tuples\.learning_rates$"):
        run(small(), landmarks, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def too_much(*_: object, **__: object) -> None:
    torch.empty(2**50)


def far_too_much(*_: object, **__: object) -> None:
    np.empty(2**57)


def too_much_for_the_gpu(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nSee documentation")


@pytest.mark.parametrize("allocate", [too_much, far_too_much, too_much_for_the_gpu])
def test_out_of_memory_names_the_remedy(tmp_path, monkeypatch, landmarks, allocate):
    monkeypatch.setattr(local_objective, "contrastive_loss", allocate)
    with pytest.raises(OutOfMemoryError) as error:
        run(small(), landmarks, tmp_path / "model.pt")
    message = str(error.value)
    assert message.startswith("out of memory: ") and "\n" not in message
    assert message.endswith("; lower train.image_size or train.tuples.negatives")


def test_other_runtime_errors_keep_their_traceback(tmp_path, monkeypatch, landmarks):
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(local_objective, "contrastive_loss", fail)
    with pytest.raises(RuntimeError, match=r"^a defect$"):
        run(small(), landmarks, tmp_path / "model.pt")


def test_photos_of_many_shapes_can_be_trained_on(tmp_path, shapes):
    params = small("train.epochs=1", "train.tuples.negatives=1")
    _, values = run(params, shapes, tmp_path / "model.pt")
    assert np.isfinite(values["loss"]) and values["loss"] > 0


def test_a_frozen_trunk_stays_and_its_context_learns(tmp_path, landmarks, pretrained, state):
    off_the_shelf = context(pretrained, "train.freeze=backbone", "train.epochs=0")
    run(off_the_shelf, landmarks, tmp_path / "a.pt", val=landmarks)
    run(context(pretrained, "train.freeze=backbone"), landmarks, tmp_path / "b.pt", val=landmarks)
    assert parts(moved(read_weights(tmp_path / "a.pt"), read_weights(tmp_path / "b.pt"))) == {"smoothing", "graph"}
    assert not list(state.iterdir()), "the stored maps are removed"


@pytest.mark.usefixtures("changes_rewarded")
def test_the_maps_of_a_frozen_trunk_are_kept_where_asked_for(tmp_path, monkeypatch, landmarks, pretrained):
    frozen, maps = context(pretrained, "train.freeze=backbone", "train.epochs=1"), tmp_path / "maps"
    train(frozen, landmarks, None, tmp_path / "a.pt", maps_folder=maps)
    kept = {file.name: file.stat().st_mtime_ns for file in maps.iterdir()}
    assert len(kept) == 16

    def nothing(self, images):
        raise AssertionError("computed again")

    monkeypatch.setattr(Backbone, "start", nothing)
    train(frozen, landmarks, None, tmp_path / "b.pt", maps_folder=maps)
    assert {file.name: file.stat().st_mtime_ns for file in maps.iterdir()} == kept
    assert same(read_weights(tmp_path / "a.pt"), read_weights(tmp_path / "b.pt"))


def test_a_frozen_trunk_trains_as_one_at_rate_zero(tmp_path, landmarks, pretrained):
    """Stored maps are float16: the same to that precision."""
    _, *frozen = run(context(pretrained, "train.freeze=backbone"), landmarks, tmp_path / "a.pt")
    at_zero = context(pretrained, "train.tuples.learning_rates.backbone=0")
    _, *still = run(at_zero, landmarks, tmp_path / "b.pt")
    for found, expected in zip(frozen, still, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-2)


def test_with_nothing_to_train_the_model_is_off_the_shelf(tmp_path, landmarks, pretrained, caplog):
    params = small(f"backbone.weights={pretrained}", "train.freeze=backbone")
    assert run(params, landmarks, tmp_path / "model.pt", val=landmarks) == []
    assert "nothing to train" in caplog.text
    run(small(f"backbone.weights={pretrained}", "train.epochs=0"), landmarks, tmp_path / "shelf.pt")
    changed = moved(read_weights(tmp_path / "model.pt"), read_weights(tmp_path / "shelf.pt"))
    assert parts(changed) <= {"whitening"}, "which stored maps, in float16, change a little"


class Recorder(Progress):
    """Notes the total of each task and the steps that it was advanced."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}
        self.current = ""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Progress]:
        self.current = description
        self.steps[description] = [total, 0]
        yield self

    def advance(self, steps: int = 1) -> None:
        self.steps[self.current][1] += steps


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            small("train.epochs=1"),
            {"learn whitening": 12, "mine negatives of epoch 1": 13, "epoch 1": 3},
        ),
        (small_global("apgem"), {"learn whitening": 12, "epoch 1": 2, "epoch 2": 2}),
        (small_global("cfcd", "train.epochs=1"), {"epoch 1": 2, "epoch 2": 1}),
    ],
    ids=["local", "apgem", "cfcd"],
)
def test_progress_is_reported_to_its_end(tmp_path, nine, landmarks, params, expected):
    recorder = Recorder()
    folder = landmarks if params.model.is_local else nine
    train(params, folder, None, tmp_path / "model.pt", progress=recorder)
    assert recorder.steps == {name: [total, total] for name, total in expected.items()}
