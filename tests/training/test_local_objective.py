import numpy as np
import pytest
import torch

from lrcr.losses.asmk import aggregate
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
        [[image]] = trainer._embed(np.array([0]))
        mean[penalty] = smoothing.filter(image.refined).bandwidth.mean().item()
    assert mean[10.0] < mean[0.0] - 0.05


@pytest.mark.parametrize("name", ["contrastive", "matches", "asmk"])
def test_each_loss_counts_by_its_weight(landmarks, pretrained, name):
    tuples, found = np.array([[0, 5, 1, 2]]), []
    for weight in (1.0, 2.0, 3.0):
        weights = ("train.tuples.losses.contrastive=1", f"train.tuples.losses.{name}={weight}")
        words = ("train.tuples.losses.words=4", "train.tuples.losses.temperature=1")
        trainer = make_trainer(context(pretrained, *weights, *words), landmarks)
        trainer.objective.on_epoch_start(trainer.setup.images.photos, 1)
        found.append(trainer.objective.loss(tuples, trainer._embed(tuples.ravel())).item())
    assert found[0] < found[1]
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-3)


def test_each_image_is_seen_at_every_scale(landmarks, pretrained):
    seen = {}
    for scales in ("[1.0]", "[1.0, 0.5]"):
        trainer = make_trainer(context(pretrained, f"train.tuples.scales={scales}"), landmarks)
        [pyramid] = trainer._embed(np.array([0]))
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
        return trainer.objective.loss(tuples, trainer._embed(tuples.ravel())).item()

    assert loss(first) == pytest.approx(0, abs=1e-6)
    assert loss(first, first) == pytest.approx(0, abs=1e-6)
    assert loss(first, second) > 1e-3
    assert trainer.run_epoch(1)["loss"] > 0


def test_words_are_rewarded_by_their_logarithm(landmarks, pretrained):
    """The loss falls by the weight times the mean logarithm of the words of the images of a pair."""
    found = {}
    for reward in (0.0, 1.0, 3.0):
        losses = f"train.tuples.losses={{contrastive: 0, asmk: 1, words: 4, word_reward: {reward}}}"
        trainer = make_trainer(context(pretrained, losses, "train.tuples.negatives=0"), landmarks)
        trainer.objective.on_epoch_start(trainer.setup.images.photos, 1)
        pyramids = trainer._embed(np.array([0, 5]))
        candidates = [trainer.setup.model.candidates(pyramid, 400) for pyramid in pyramids]
        words = aggregate(candidates, trainer.objective.codebooks[0]).presence.sum(dim=1)
        found[reward] = trainer.objective.loss(np.array([[0, 5]]), pyramids).item()
    mean = words.log().mean().item()
    assert mean > 0.1
    assert found[0.0] - found[1.0] == pytest.approx(mean, rel=1e-4)
    assert found[0.0] - found[3.0] == pytest.approx(3 * mean, rel=1e-4)


def test_the_whitening_follows_the_features_only_if_it_is_told_to(landmarks, pretrained):
    whitened = {}
    for refit in ("true", "false"):
        losses = ("train.tuples.losses={asmk: 1, words: 4}", f"train.tuples.refit_whitening={refit}")
        trainer = make_trainer(context(pretrained, *losses), landmarks)
        model, images = trainer.setup.model, trainer.setup.images
        with torch.no_grad():
            model.smoothing.bandwidth.bias.fill_(5.0)  # other features than those it was learned from
        before = model.whitening.weight.clone()
        trainer.objective.on_epoch_start(images.photos, 1)
        whitened[refit] = not torch.equal(before, model.whitening.weight)
        covariance = torch.cat(
            [
                sample
                for batch in trainer.setup.maps.batches(images.photos)
                for sample in model.whitening_samples(batch[1][0], 1000)
            ]
        ).T.cov()
        projected = model.whitening.weight.flatten(1) @ covariance @ model.whitening.weight.flatten(1).T
        identity = torch.eye(len(projected))
        assert torch.allclose(projected, identity, atol=0.05) == whitened[refit]
    assert whitened == {"true": True, "false": False}


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
