import numpy as np
import pytest

from lrcr.training.tuple_sampler import TupleSampler

from .small import context, make_setup, make_trainer, small


@pytest.fixture
def sampler(landmarks, pretrained) -> TupleSampler:
    overrides = ("train.tuples.queries_per_epoch=100", "train.tuples.negative_pool=9")
    params = small(f"backbone.weights={pretrained}", *overrides)
    return TupleSampler(make_setup(params, landmarks), params.train.tuples)


def test_tuples_are_query_positive_and_negatives_of_the_pool(sampler):
    images = sampler.setup.images
    tuples, pool, distance = sampler.draw(1)
    assert tuples.shape == (15, 4) and len(pool) == len(set(pool)) == 9
    for query, positive, *negatives in tuples:
        assert query != positive and images.clusters[query] == images.clusters[positive]
        assert len({images.clusters[query], *images.clusters[negatives]}) == 3
        assert {images.photos[i] for i in negatives} <= set(pool)
    vectors = sampler._describe(np.arange(16), 1).numpy()
    distances = np.linalg.norm(vectors[tuples[:, :1]] - vectors[tuples[:, 2:]], axis=2)
    assert distance == pytest.approx(distances.mean(), rel=1e-3)


def test_negatives_are_the_hardest_for_the_model_as_it_is(sampler):
    images = sampler.setup.images
    tuples, pool, _ = sampler.draw(1)
    vectors = sampler._describe(np.arange(16), 1).numpy()
    in_pool = [i for i, photo in enumerate(images.photos) if photo in pool]
    for query, _, *negatives in tuples:
        others = [i for i in in_pool if images.clusters[i] != images.clusters[query]]
        assert negatives[0] == max(others, key=lambda i: vectors[i] @ vectors[query])


def test_every_epoch_draws_its_own_tuples_and_pool(sampler):
    (first, pool, distance), again, (second, other, _) = (sampler.draw(epoch) for epoch in (1, 1, 2))
    np.testing.assert_array_equal(first, again[0])
    assert (pool, distance) == again[1:]
    assert not np.array_equal(first, second) and pool != other


def test_images_are_described_in_evaluation_mode(sampler):
    sampler.setup.model.train()
    sampler.draw(1)
    assert not sampler.setup.model.training


def test_without_negatives_nothing_is_described(landmarks, pretrained):
    params = context(pretrained, "train.tuples.negatives=0", "train.tuples.losses={contrastive: 0, asmk: 1, words: 4}")
    trainer = make_trainer(params, landmarks)
    trainer.setup.maps = None
    tuples, pool, distance = trainer.sampler.draw(1)
    assert tuples.shape == (5, 2) and len(pool) == len(trainer.setup.images.photos) and distance is None
    clusters = trainer.setup.images.clusters[tuples]
    assert (clusters[:, 0] == clusters[:, 1]).all()
