import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.data.loading import load_batches
from lrcr.errors import DatasetError, LrcrError, OutOfMemoryError, WeightsError
from lrcr.features.extraction import sample_photos
from lrcr.losses.contrastive import contrastive_loss
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_model
from lrcr.training import local_objective
from lrcr.training.maps import StoredMaps, TrunkMaps
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import training_set
from lrcr.training.validation import Validator

CPU = torch.device("cpu")
SMALL = (
    "backbone.skip_layers=3",
    "backbone.weights=none",
    "whitening.dim=8",
    "whitening.images=12",
    "whitening.descriptors=60",
    "train.epochs=2",
    "train.queries=5",
    "train.pool=16",
    "train.negatives=2",
    "train.batch=2",
    "train.image_size=32",
    "train.rates.backbone=1e-3",
    "train.decay=0.5",
)


def small(*overrides: str) -> Params:
    return load_params(overrides=[*SMALL, *overrides])


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


@pytest.fixture(scope="module")
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


def run(params: Params, folder: Path, model_file: Path, val: Path | None = None) -> list[dict[str, float]]:
    """Train, and return what was logged."""
    logged: list[dict[str, float]] = []
    train(params, folder, val, model_file, log=logged.append)
    return logged


def weights(model_file: Path) -> dict[str, Tensor]:
    return open_model(model_file)[0].state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, landmarks) -> tuple[Path, list[dict[str, float]]]:
    """Two undisturbed epochs from nothing."""
    model_file = tmp_path_factory.mktemp("model") / "model.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(tmp_path_factory.mktemp("state")))
        logged = run(small(), landmarks, model_file)
    return model_file, logged


def test_each_epoch_logs_its_values(trained):
    _, logged = trained
    assert [values["epoch"] for values in logged] == [1, 2]
    assert [values["rate"] for values in logged] == [1e-3, 0.5e-3]
    for values in logged:
        assert set(values) == {"epoch", "loss", "rate", "negative_distance", "validation_map"}
        assert np.isfinite(values["loss"]) and values["loss"] > 0
        assert 0 <= values["negative_distance"] <= 2 and 0 <= values["validation_map"] <= 100


def test_the_model_tells_what_it_was_made_from(trained, landmarks):
    _, manifest = open_model(trained[0])
    assert manifest.params == small().sections(*MODEL_SECTIONS)
    assert manifest.inputs == {"train": open_dataset(landmarks).fingerprint}


def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path, trained, landmarks):
    assert run(small(), landmarks, tmp_path / "again.pt") == trained[1]
    assert same(weights(tmp_path / "again.pt"), weights(trained[0]))
    run(small("seed=1"), landmarks, tmp_path / "other.pt")
    assert not same(weights(tmp_path / "other.pt"), weights(trained[0]))


def kill_after(epoch: int):
    def log(values: dict[str, float]) -> None:
        if values["epoch"] == epoch:
            raise Killed

    return log


def test_a_killed_training_continues_to_the_same_weights(tmp_path, trained, landmarks, state, monkeypatch):
    with pytest.raises(Killed):
        train(small(), landmarks, None, tmp_path / "model.pt", log=kill_after(1))
    assert not (tmp_path / "model.pt").exists()
    epochs: list[int] = []
    run_epoch = TupleTrainer.run_epoch
    monkeypatch.setattr(
        TupleTrainer, "run_epoch", lambda self, epoch, **kw: epochs.append(epoch) or run_epoch(self, epoch, **kw)
    )
    assert run(small(), landmarks, tmp_path / "model.pt") == trained[1]
    assert epochs == [2]
    assert same(weights(tmp_path / "model.pt"), weights(trained[0]))
    assert not list(state.iterdir())


def test_a_killed_training_with_frozen_batchnorm_continues_to_the_same_weights(tmp_path, landmarks, pretrained):
    params = small(f"backbone.weights={pretrained}", "train.rates.whitening=1e-3")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after(1))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(weights(tmp_path / "killed.pt"), weights(tmp_path / "whole.pt"))


def test_unfinished_training_under_other_params_is_not_taken_up(tmp_path, trained, landmarks):
    with pytest.raises(Killed):
        train(small("train.margin=0.5"), landmarks, None, tmp_path / "a.pt", log=kill_after(1))
    assert run(small(), landmarks, tmp_path / "b.pt") == trained[1]


def test_without_epochs_the_model_is_off_the_shelf(tmp_path, landmarks, pretrained, state):
    params = small("train.epochs=0", f"backbone.weights={pretrained}")
    assert run(params, landmarks, tmp_path / "model.pt") == []
    found, expected = weights(tmp_path / "model.pt"), build_model(params).state_dict()
    for name, tensor in expected.items():
        if not name.startswith("whitening"):
            assert torch.equal(found[name], tensor), name
    assert not list(state.iterdir())


@torch.inference_mode()
def smoothed_features(model, folder, params) -> np.ndarray:
    photos = sample_photos(open_dataset(folder).photos(), params.whitening.images, params.seed)
    batches = TrunkMaps(model.backbone, 32, CPU).batches(photos)
    found = [local for _, maps in batches for local in model.strongest(maps, [1.0], 60, whiten=False)]
    return np.concatenate([local.descriptors.numpy() for local in found]).astype(float)


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_whitening_is_learned_on_the_features_of_the_final_trunk(tmp_path, landmarks, epochs):
    params, model_file = small(f"train.epochs={epochs}"), tmp_path / "model.pt"
    run(params, landmarks, model_file, val=landmarks)
    model, _ = open_model(model_file)
    weight, bias = model.whitening.weight.detach().numpy(), model.whitening.bias.detach().numpy()
    whitened = smoothed_features(model, landmarks, params) @ weight.T + bias
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(8), atol=1e-2)


def test_a_given_whitening_is_kept(tmp_path, landmarks):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(8, 64)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    np.savez(tmp_path / "w.npz", whiten_weight=weight, whiten_bias=bias)
    run(small(f"whitening.file={tmp_path / 'w.npz'}", "train.epochs=1"), landmarks, tmp_path / "model.pt")
    found = weights(tmp_path / "model.pt")
    np.testing.assert_array_equal(found["whitening.weight"], weight)
    np.testing.assert_array_equal(found["whitening.bias"], bias)
    assert set(open_model(tmp_path / "model.pt")[1].inputs) == {"train", "whitening"}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_from_nothing_everything_is_trained(trained):
    before, after = build_model(small()).state_dict(), weights(trained[0])
    names = {name for name in before if not name.endswith("num_batches_tracked")}
    assert moved(before, after) == names


def test_with_pretrained_weights_statistics_and_whitening_are_frozen(tmp_path, landmarks, pretrained):
    run(small(f"backbone.weights={pretrained}", "train.epochs=0"), landmarks, tmp_path / "before.pt", val=landmarks)
    run(small(f"backbone.weights={pretrained}"), landmarks, tmp_path / "after.pt", val=landmarks)
    before, after = weights(tmp_path / "before.pt"), weights(tmp_path / "after.pt")
    still = ("running_mean", "running_var", "num_batches_tracked")
    assert moved(before, after) == {
        name for name in before if not name.endswith(still) and not name.startswith("whitening")
    }


def test_the_best_epoch_is_kept(tmp_path, monkeypatch, landmarks, pretrained):
    seen: list[dict[str, Tensor]] = []
    scores = iter([10.0, 30.0, 30.0, 20.0])

    def score(self):
        seen.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(Validator, "score", score)
    logged = run(small("train.epochs=4", f"backbone.weights={pretrained}"), landmarks, tmp_path / "model.pt")
    assert [values["validation_map"] for values in logged] == [10, 30, 30, 20]
    found = weights(tmp_path / "model.pt")
    assert [not moved(found, state) for state in seen] == [False, True, False, False], "the first of the best"


def test_validation_happens_every_so_many_epochs_and_at_the_end(tmp_path, landmarks):
    logged = run(small("train.epochs=3", "train.validation.every=2"), landmarks, tmp_path / "model.pt")
    assert ["validation_map" in values for values in logged] == [False, True, True]


def test_the_loss_falls_where_a_little_can_be_learned(tmp_path, landmarks):
    logged = run(small("train.epochs=5", "train.decay=1", "train.queries=15"), landmarks, tmp_path / "model.pt")
    assert logged[-1]["loss"] < 0.7 * logged[0]["loss"]


def test_a_named_validation_set_is_used_and_recorded(tmp_path, draw_dataset, landmarks):
    val = draw_dataset(tmp_path / "val", [(48, 36)] * 4, ["x", "x", "y", "y"])
    logged = run(small("train.epochs=1"), landmarks, tmp_path / "model.pt", val)
    assert len(logged) == 1
    _, manifest = open_model(tmp_path / "model.pt")
    assert manifest.inputs["val"] == open_dataset(val).fingerprint


@pytest.mark.parametrize("labels", [[None] * 4, ["a", "a", None, None]])
def test_photos_without_landmarks_are_refused(tmp_path, draw_dataset, labels):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 4, labels)
    with pytest.raises(DatasetError, match="data: validation holds out landmarks"):
        run(small(), folder, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_too_few_landmarks_for_the_negatives_are_refused(tmp_path, landmarks):
    with pytest.raises(DatasetError, match="training: 9 negatives need 10 landmarks, but the pool holds 5"):
        run(small("train.negatives=9"), landmarks, tmp_path / "model.pt")


def test_too_few_photos_for_the_whitening_are_refused(tmp_path, landmarks):
    with pytest.raises(WeightsError, match=r"whitening\.dim: 8 dimensions need more than 8 features"):
        run(small("whitening.images=2", "whitening.descriptors=4"), landmarks, tmp_path / "model.pt")


def test_divergence_is_told(tmp_path, monkeypatch, landmarks):
    monkeypatch.setattr(local_objective, "contrastive_loss", lambda queries, *_: queries.sum() * float("nan"))
    with pytest.raises(LrcrError, match=r"training: the loss is nan at query .*; lower train\.rates"):
        run(small(), landmarks, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("batchnorm", ["frozen", "trained"])
def test_the_tuple_at_which_the_loss_diverges_is_named(landmarks, pretrained, batchnorm):
    weights_from = pretrained if batchnorm == "frozen" else "none"
    trainer = make_trainer(small(f"backbone.weights={weights_from}"), landmarks)
    trainer.model.train()
    sound, wrong = [0, 5, 1, 2], [6, 1, 3, 4]
    loss = trainer.objective.loss
    trainer.objective.loss = lambda tuples, seen: loss(tuples, seen) * (float("nan") if 6 in tuples else 1)
    files = [str(trainer.images.photos[i].path) for i in wrong]
    named = f"nan at query {files[0]}, positive {files[1]}, negatives {files[2]}, {files[3]}; lower train.rates"
    with pytest.raises(LrcrError, match=re.escape(named)):
        trainer._step(np.array([sound, wrong]))


def too_much(*_: object, **__: object) -> None:
    torch.empty(2**50)


def far_too_much(*_: object, **__: object) -> None:
    np.empty(2**57)


def too_much_for_the_gpu(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nSee documentation")


@pytest.mark.parametrize("allocate", [too_much, far_too_much, too_much_for_the_gpu])
def test_out_of_memory_tells_the_remedy(tmp_path, monkeypatch, landmarks, pretrained, allocate):
    monkeypatch.setattr(local_objective, "contrastive_loss", allocate)
    with pytest.raises(
        OutOfMemoryError, match=r"^out of memory: .*; lower train\.image_size or train\.batch$"
    ) as error:
        run(small(), landmarks, tmp_path / "model.pt")
    assert "\n" not in str(error.value)
    with pytest.raises(OutOfMemoryError, match=r"lower train\.image_size or train\.negatives$"):
        run(small(f"backbone.weights={pretrained}"), landmarks, tmp_path / "model.pt")


def test_other_runtime_errors_keep_their_traceback(tmp_path, monkeypatch, landmarks):
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(local_objective, "contrastive_loss", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        run(small(), landmarks, tmp_path / "model.pt")


def test_a_killed_training_of_convnext_continues_to_the_same_weights(tmp_path, landmarks):
    """Its trunk was published with stochastic depth, which would consume random numbers."""
    params = small("backbone.name=convnext_tiny", "backbone.skip_layers=1", "train.rates.backbone=1e-4")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after(1))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(weights(tmp_path / "killed.pt"), weights(tmp_path / "whole.pt"))


@pytest.fixture
def trainer(landmarks, pretrained) -> TupleTrainer:
    return make_trainer(small(f"backbone.weights={pretrained}", "train.queries=100", "train.pool=9"), landmarks)


def make_trainer(params: Params, folder: Path) -> TupleTrainer:
    model = build_model(params)
    maps = TrunkMaps(model.backbone, params.train.image_size, CPU)
    return TupleTrainer(params, model, training_set(open_dataset(folder)), maps, CPU)


def test_tuples_are_query_positive_and_negatives_of_the_pool(trainer):
    clusters = trainer.images.clusters
    tuples, distance = trainer.draw_tuples(1)
    assert tuples.shape == (15, 4)
    for query, positive, *negatives in tuples:
        assert query != positive and clusters[query] == clusters[positive]
        assert len({clusters[query], *clusters[negatives]}) == 3
    assert len(set(tuples[:, 2:].ravel())) <= 9
    vectors = trainer._describe(np.arange(16), 1).numpy()
    distances = np.linalg.norm(vectors[tuples[:, :1]] - vectors[tuples[:, 2:]], axis=2)
    assert distance == pytest.approx(distances.mean(), rel=1e-3)


def test_every_epoch_draws_its_own_tuples(trainer):
    first, again, second = (trainer.draw_tuples(epoch)[0] for epoch in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_step_of_tuples_one_by_one_is_that_of_all_at_once(trainer):
    """Frozen BatchNorm makes tuples independent: passing them one at a time changes no gradient."""
    tuples = np.array([[0, 5, 1, 2], [6, 1, 3, 4]])
    trainer.model.train()
    found = trainer._step(tuples)
    gradients = [parameter.grad for parameter in trainer.model.backbone.parameters()]

    model = build_model(trainer.params).eval()
    [batch] = load_batches([trainer.images.photos[i] for i in tuples.ravel()], 32, 8)
    vectors = model(batch.images).view(2, 4, -1)
    loss = contrastive_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:], 0.8)
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-5)
    for gradient, parameter in zip(gradients, model.backbone.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)


def vectors_of(trainer: TupleTrainer, ids: np.ndarray) -> Tensor:
    return torch.cat([trainer.model.pool(context) for context in trainer._see(ids)])


@pytest.fixture
def shapes(tmp_path, draw_dataset) -> Path:
    """Photos of three shapes, interleaved."""
    sizes = [(48, 36), (36, 48), (32, 32)] * 4
    return draw_dataset(tmp_path / "shapes", sizes, [f"landmark {i % 4}" for i in range(12)])


def test_descriptors_of_photos_of_many_shapes_keep_their_order(shapes, pretrained):
    trainer = make_trainer(small(f"backbone.weights={pretrained}"), shapes)
    trainer.model.eval()
    ids = np.array([7, 0, 4, 2, 7, 1])
    together = vectors_of(trainer, ids)
    for row, image in enumerate(ids):
        torch.testing.assert_close(together[row], vectors_of(trainer, np.array([image]))[0], rtol=1e-4, atol=1e-5)
    assert together.requires_grad


def test_batchnorm_that_is_trained_sees_all_photos_at_once(shapes):
    trainer = make_trainer(small(), shapes)
    trainer.model.train()
    seen: list[torch.Size] = []
    trainer.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    ids = np.array([7, 0, 4, 2, 7, 1])
    vectors = vectors_of(trainer, ids)
    assert seen == [(6, 3, 32, 32)]
    torch.testing.assert_close(vectors[0], vectors[4])  # the same photo
    trainer.model.eval()
    for row, image in enumerate(ids):
        torch.testing.assert_close(
            vectors_of(trainer, ids)[row], vectors_of(trainer, np.array([image]))[0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("frozen", [False, True])
def test_photos_of_many_shapes_can_be_trained_on(tmp_path, shapes, pretrained, frozen):
    weights_from = pretrained if frozen else "none"
    params = small("train.epochs=1", "train.negatives=1", f"backbone.weights={weights_from}")
    [values] = run(params, shapes, tmp_path / "model.pt")
    assert np.isfinite(values["loss"])


CONTEXT = ("smoothing.kind=learnable", "graph.kind=gcn", "graph.width=8", "train.rates.context=1e-2")


def context(pretrained: Path, *overrides: str) -> Params:
    return small(f"backbone.weights={pretrained}", *CONTEXT, "train.warmup=1", *overrides)


def parts(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_a_frozen_trunk_stays_and_its_context_learns(tmp_path, landmarks, pretrained, state):
    frozen = context(pretrained, "train.freeze=backbone")
    run(
        frozen.model_copy(update={"train": frozen.train.model_copy(update={"epochs": 0})}), landmarks, tmp_path / "a.pt"
    )
    run(frozen, landmarks, tmp_path / "b.pt", val=landmarks)
    assert parts(moved(weights(tmp_path / "a.pt"), weights(tmp_path / "b.pt"))) == {"smoothing", "graph"}
    assert not list(state.iterdir()), "the stored maps are removed"


def test_the_maps_of_a_frozen_trunk_are_kept_where_asked_for(tmp_path, monkeypatch, landmarks, pretrained):
    frozen, maps = context(pretrained, "train.freeze=backbone", "train.epochs=1"), tmp_path / "maps"
    train(frozen, landmarks, None, tmp_path / "a.pt", maps_folder=maps)
    kept = {file.name: file.stat().st_mtime_ns for file in maps.iterdir()}
    assert kept

    def nothing(self, photos, **_):
        assert not photos, "computed again"
        return iter(())

    monkeypatch.setattr(TrunkMaps, "batches", nothing)
    train(frozen, landmarks, None, tmp_path / "b.pt", maps_folder=maps)
    assert {file.name: file.stat().st_mtime_ns for file in maps.iterdir()} == kept
    assert same(weights(tmp_path / "a.pt"), weights(tmp_path / "b.pt"))


def test_a_frozen_trunk_trains_as_one_at_rate_zero(tmp_path, landmarks, pretrained):
    """Stored maps are float16: the same to that precision."""
    frozen = run(context(pretrained, "train.freeze=backbone"), landmarks, tmp_path / "a.pt")
    still = run(context(pretrained, "train.rates.backbone=0"), landmarks, tmp_path / "b.pt")
    for found, expected in zip(frozen, still, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-2)


def test_with_nothing_to_train_the_model_is_off_the_shelf(tmp_path, landmarks, pretrained, caplog):
    logged = run(small(f"backbone.weights={pretrained}", "train.freeze=backbone"), landmarks, tmp_path / "model.pt")
    assert logged == [] and "nothing to train" in caplog.text
    assert (tmp_path / "model.pt").exists()


def test_the_rate_of_the_context_rises_and_that_of_the_trunk_does_not(landmarks, pretrained):
    trainer = make_trainer(context(pretrained, "train.warmup=3", "train.decay=0.5"), landmarks)
    seen = []
    for epochs, steps in ((0, 0), (0, 1), (0, 3), (0, 9), (1, 10)):
        trainer.parts.set_rates(epochs, steps)
        backbone, smoothing, graph, whitening = (group["lr"] for group in trainer.optimizer.param_groups)
        assert smoothing == graph and whitening == 0
        seen.append((backbone / 1e-3, smoothing / 1e-2))
    assert seen == [(1, 0.25), (1, 0.5), (1, 1), (1, 1), (0.5, 0.5)]


def test_a_penalty_keeps_the_bandwidth_small(landmarks, pretrained):
    mean = {}
    for penalty in (0.0, 10.0):
        trainer = make_trainer(context(pretrained, f"smoothing.penalty={penalty}", "train.queries=15"), landmarks)
        with torch.no_grad():
            trainer.model.smoothing.bandwidth.bias.fill_(1.0)
        trainer.run_epoch(1)
        trainer.run_epoch(2)
        [[image]] = trainer._see(np.array([0]))
        mean[penalty] = float(trainer.model.smoothing.filter(image.refined).bandwidth.mean())
    assert mean[10.0] < mean[0.0] - 0.05


@pytest.mark.parametrize("name", ["contrastive", "matches", "asmk"])
def test_each_loss_counts_by_its_weight(landmarks, pretrained, name):
    tuples, found = np.array([[0, 5, 1, 2]]), []
    for weight in (1.0, 2.0, 3.0):
        weights = ("train.losses.contrastive=1", f"train.losses.{name}={weight}")
        both = (*weights, "train.losses.words=4", "train.losses.temperature=1")
        trainer = make_trainer(context(pretrained, *both), landmarks)
        trainer.draw_tuples(1)
        found.append(float(trainer.objective.loss(tuples, trainer._see(tuples.ravel()))))
    assert found[0] < found[1]
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-3)


def test_each_image_is_seen_at_every_scale(landmarks, pretrained):
    seen = {}
    for scales in ("[1.0]", "[1.0, 0.5]"):
        trainer = make_trainer(context(pretrained, f"train.scales={scales}"), landmarks)
        [pyramid] = trainer._see(np.array([0]))
        seen[scales] = [tuple(image.features.shape[2:]) for image in pyramid]
    assert seen == {"[1.0]": [(6, 8)], "[1.0, 0.5]": [(6, 8), (3, 4)]}


def test_a_killed_training_by_asmk_continues_to_the_same_weights(tmp_path, landmarks, pretrained):
    params = context(pretrained, "train.losses.asmk=1", "train.losses.contrastive=0", "train.losses.words=4")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after(1))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(weights(tmp_path / "killed.pt"), weights(tmp_path / "whole.pt"))


MERGE = ("train.merge=true", "train.freeze=backbone", "train.epochs=1")


@pytest.fixture
def seen(monkeypatch) -> list[tuple[int, int, dict[str, Tensor], dict[str, Tensor]]]:
    """Of each epoch: its number, the first of its phase, the weights before and after it."""
    seen, epochs = [], TupleTrainer.run_epoch

    def run_epoch(self, epoch, first):
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        values = epochs(self, epoch, first)
        after = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        seen.append((epoch, first, before, after))
        return values

    monkeypatch.setattr(TupleTrainer, "run_epoch", run_epoch)
    return seen


def test_merging_trains_each_alone_and_then_both(tmp_path, seen, landmarks, pretrained):
    logged = run(context(pretrained, *MERGE, "train.together=2"), landmarks, tmp_path / "model.pt")
    assert [(epoch, first) for epoch, first, *_ in seen] == [(1, 1), (2, 2), (3, 3), (4, 3)]
    assert [values["epoch"] for values in logged] == [1, 2, 3, 4]
    changed = [parts(moved(before, after)) for _, _, before, after in seen]
    assert changed == [{"smoothing"}, {"graph"}, {"smoothing", "graph"}, {"smoothing", "graph"}]
    (_, _, start, smoothed), (_, _, again, refined), (_, _, merged, _), _ = seen
    assert same(start, again)
    assert same(merged, joined(smoothed, refined))


def test_merging_may_join_the_best_of_each_as_they_are(tmp_path, seen, landmarks, pretrained):
    run(context(pretrained, *MERGE, "train.together=0"), landmarks, tmp_path / "model.pt")
    (_, _, _, smoothed), (_, _, _, refined) = seen
    assert same(weights(tmp_path / "model.pt"), joined(smoothed, refined))


def joined(smoothed: dict[str, Tensor], refined: dict[str, Tensor]) -> dict[str, Tensor]:
    """The smoothing of one model and all else of another."""
    return {name: (smoothed if name.startswith("smoothing.") else refined)[name] for name in refined}


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_merge_continues_to_the_same_weights(tmp_path, landmarks, pretrained, epoch):
    params = context(pretrained, *MERGE)
    whole = run(params, landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after(epoch))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(weights(tmp_path / "killed.pt"), weights(tmp_path / "whole.pt"))


def test_a_frozen_trunk_from_nothing_keeps_its_statistics(landmarks, tmp_path):
    params = small(*CONTEXT, "train.freeze=backbone", "train.warmup=1", "train.pool=9")
    model = build_model(params)
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    maps = StoredMaps(TrunkMaps(model.backbone, 32, CPU), tmp_path / "maps")
    TupleTrainer(params, model, training_set(open_dataset(landmarks)), maps, CPU).run_epoch(1)
    assert not moved(before, model.backbone.state_dict())
