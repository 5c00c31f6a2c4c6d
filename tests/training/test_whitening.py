import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.data.dataset import open_dataset
from lrcr.errors import WeightsError
from lrcr.features.extraction import sample_photos
from lrcr.training.maps import TrunkMaps
from lrcr.training.whitening import learn_whitening

from .small import CPU, SIZE, build, copy_state, moved, small, small_global


def learn(params, folder):
    """A model off the shelf, with its whitening learned."""
    model = build(params).train()
    maps = TrunkMaps(model.backbone, SIZE, CPU)
    learn_whitening(model, maps, open_dataset(folder).photos(), params.whitening, params.seed)
    return model


def assert_white(whitened: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=atol)
    covariance = whitened.T @ whitened / len(whitened)
    np.testing.assert_allclose(covariance, np.eye(whitened.shape[1]), atol=5 * atol)


@torch.no_grad()
def test_the_vectors_of_apgem_are_centred_before_training(nine):
    model = learn(small_global("apgem", "whitening.images=18"), nine)
    maps = TrunkMaps(model.backbone, SIZE, CPU)
    vectors = [F.normalize(model.pooling(features)) for _, [features] in maps.batches(open_dataset(nine).photos())]
    centred = model.projection(torch.cat(vectors))
    torch.testing.assert_close(centred.mean(dim=0), torch.zeros(64), atol=1e-3, rtol=0)
    assert (model.projection.weight == torch.eye(64)).all()


@torch.no_grad()
@pytest.mark.parametrize("images", [7, 100])
def test_the_strongest_smoothed_features_of_a_sample_become_white(landmarks, images):
    params = small(f"whitening.images={images}", "seed=3")
    model = learn(params, landmarks)
    assert not model.training
    sample = sample_photos(open_dataset(landmarks).photos(), images, 3)
    assert len(sample) == min(images, 16)
    batches = TrunkMaps(model.backbone, SIZE, CPU).batches(sample)
    found = [local.descriptors for _, maps in batches for local in model.describe_maps(maps, [1.0], 60, whiten=False)]
    assert_white(model.whitening(torch.cat(found)).numpy().astype(float), atol=2e-3)


@torch.no_grad()
def test_a_projection_starts_as_the_whitening_of_pooled_vectors(nine):
    model = learn(small_global("gem", "pooling.projection=6", "whitening.images=18"), nine)
    batches = TrunkMaps(model.backbone, SIZE, CPU).batches(open_dataset(nine).photos())
    pooled = F.normalize(torch.cat([model.pooling(features) for _, [features] in batches]), dim=1)
    assert_white(model.projection(pooled).numpy().astype(float), atol=1e-2)


@pytest.mark.parametrize("name", ["gem", "cfcd"])
def test_a_model_without_whitening_stays_as_it_is(nine, name):
    before = copy_state(build(small_global(name)))
    assert not moved(before, learn(small_global(name), nine).state_dict())


def test_the_seed_draws_the_photos(landmarks):
    first, again, other = (learn(small("whitening.images=5", f"seed={seed}"), landmarks) for seed in (1, 1, 2))
    other.load_state_dict(
        {**first.state_dict(), **{f"whitening.{k}": v for k, v in other.whitening.state_dict().items()}}
    )
    assert not moved(first.state_dict(), again.state_dict())
    assert moved(first.state_dict(), other.state_dict()) == {"whitening.weight", "whitening.bias"}


def test_too_few_features_are_refused(landmarks):
    with pytest.raises(WeightsError, match=r"^whitening: 8 dimensions need more than 8 features; .* whitening\.dim"):
        learn(small("whitening.images=2", "whitening.max_descriptors=4"), landmarks)
