import numpy as np
import pytest
import torch

from lrcr.training.local_objective import LocalObjective

from .small import context, make_trainer


def test_a_penalty_keeps_the_bandwidth_small(landmarks, pretrained):
    mean = {}
    for penalty in (0.0, 10.0):
        overrides = (f"smoothing.bandwidth_penalty={penalty}", "train.tuples.queries_per_epoch=15")
        trainer = make_trainer(context(pretrained, *overrides), landmarks)
        smoothing = trainer.setup.model.smoothing
        with torch.no_grad():
            smoothing.bandwidth.bias.fill_(1.0)
        trainer.run_epoch(1)
        trainer.run_epoch(2)
        [[image]] = trainer.loss.embed(np.array([0]))
        mean[penalty] = smoothing.filter(image.refined).bandwidth.mean().item()
    assert mean[10.0] < mean[0.0] - 0.05


@pytest.mark.parametrize("name", ["contrastive", "asmk"])
def test_each_loss_counts_by_its_weight(landmarks, pretrained, name):
    tuples, found = np.array([[0, 5, 1, 2]]), []
    for weight in (1.0, 2.0, 3.0):
        weights = ("train.tuples.losses.contrastive=1", f"train.tuples.losses.{name}={weight}")
        words = ("train.tuples.losses.words=4", "train.tuples.losses.temperature=1")
        trainer = make_trainer(context(pretrained, *weights, *words), landmarks)
        trainer.objective.on_epoch_start(trainer.setup.images.photos, 1)
        found.append(trainer.objective.loss(tuples, trainer.loss.embed(tuples.ravel())).item())
    assert found[0] < found[1]
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-3)


def test_each_image_is_seen_at_every_scale(landmarks, pretrained):
    seen = {}
    for scales in ("[1.0]", "[1.0, 0.5]"):
        trainer = make_trainer(context(pretrained, f"train.tuples.scales={scales}"), landmarks)
        [pyramid] = trainer.loss.embed(np.array([0]))
        seen[scales] = [tuple(image.refined.shape[2:]) for image in pyramid]
    assert seen == {"[1.0]": [(6, 8)], "[1.0, 0.5]": [(6, 8), (3, 4)]}


def learn_words(landmarks, pretrained, epoch: int, *overrides: str) -> np.ndarray:
    losses = ("train.tuples.losses.asmk=1", "train.tuples.losses.words=4")
    trainer = make_trainer(context(pretrained, *losses, *overrides), landmarks)
    assert isinstance(trainer.objective, LocalObjective)
    trainer.objective.on_epoch_start(trainer.setup.images.photos[:6], epoch)
    return trainer.objective.codebooks[0].numpy()


def test_every_epoch_learns_its_own_words_by_the_seed(landmarks, pretrained):
    first = learn_words(landmarks, pretrained, 1)
    assert first.shape == (4, 8) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, learn_words(landmarks, pretrained, 1))
    assert not np.array_equal(first, learn_words(landmarks, pretrained, 2))
    assert not np.array_equal(first, learn_words(landmarks, pretrained, 1, "seed=1"))


def test_the_steps_of_an_epoch_take_its_codebooks_in_turn(landmarks, pretrained):
    losses = "train.tuples.losses={contrastive: 0, asmk: 1, words: 4, codebooks: 3}"
    trainer = make_trainer(context(pretrained, losses, "train.tuples.negatives=0"), landmarks)
    objective, tuples = trainer.objective, np.array([[0, 5], [1, 2]])
    objective.on_epoch_start(trainer.setup.images.photos, 1)
    assert len({words.numpy().tobytes() for words in objective.codebooks}) == 3
    alone = learn_words(landmarks, pretrained, 1)
    assert alone.shape == tuple(objective.codebooks[0].shape)

    def loss() -> float:
        return objective.loss(tuples, trainer.loss.embed(tuples.ravel())).item()

    first = [loss() for _ in range(6)]
    assert first[:3] == first[3:] and len(set(first)) == 3
    objective.on_epoch_start(trainer.setup.images.photos, 1)
    assert loss() == first[0], "an epoch starts with its first codebook, whatever ran before"


def test_no_words_are_learned_where_no_loss_needs_them(landmarks, pretrained):
    trainer = make_trainer(context(pretrained), landmarks)
    trainer.objective.on_epoch_start(trainer.setup.images.photos, 1)
    assert not trainer.objective.codebooks


def test_asmk_compares_all_images_of_a_step(landmarks, pretrained):
    """The pairs of a step are each other's negatives; images of the query's own landmark are not."""
    losses = "train.tuples.losses={contrastive: 0, asmk: 1, words: 4}"
    trainer = make_trainer(context(pretrained, losses, "train.tuples.negatives=0"), landmarks)
    trainer.objective.on_epoch_start(trainer.setup.images.photos, 1)
    clusters = trainer.setup.images.clusters
    first, second = (np.flatnonzero(clusters == cluster)[:2] for cluster in np.unique(clusters)[:2])

    def loss(*pairs: np.ndarray) -> float:
        tuples = np.stack(pairs)
        return trainer.objective.loss(tuples, trainer.loss.embed(tuples.ravel())).item()

    assert loss(first) == pytest.approx(0, abs=1e-6)
    assert loss(first, first) == pytest.approx(0, abs=1e-6)
    assert loss(first, second) > 1e-3
    assert trainer.run_epoch(1)["loss"] > 0


def test_with_groups_every_second_step_compares_similar_clusters(landmarks, pretrained):
    losses = "train.tuples.losses={contrastive: 0, asmk: 1, words: 4}"
    common = (losses, "train.tuples.negatives=0", "train.tuples.batch_size=2", "train.tuples.negative_pool=15")
    trainer = make_trainer(context(pretrained, *common, "train.tuples.group_size=2"), landmarks)
    images = trainer.setup.images
    trainer.objective.on_epoch_start(images.photos, 1)
    clusters = [
        cluster for cluster, size in zip(*np.unique(images.clusters, return_counts=True), strict=True) if size > 1
    ]
    similar = trainer.objective.similar
    assert set(similar) >= set(clusters) and all(cluster not in others for cluster, others in similar.items())
    pairs = np.array([np.flatnonzero(images.clusters == cluster)[:2] for cluster in clusters])
    ordered = trainer.objective.order(pairs, 2)
    np.testing.assert_array_equal(ordered[:2], pairs[:2])
    third, fourth = images.clusters[ordered[2:4, 0]]
    left = {int(cluster) for cluster in clusters[3:]}
    assert fourth == next(cluster for cluster in similar[int(third)].tolist() if cluster in left)
    without = make_trainer(context(pretrained, *common), landmarks)
    without.objective.on_epoch_start(images.photos, 1)
    np.testing.assert_array_equal(without.objective.order(pairs, 2), pairs)
    assert np.isfinite(trainer.run_epoch(1)["loss"])
