import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.second_order import second_order_loss
from lrcr.losses.triplet import triplet_loss
from lrcr.models.descriptors import resize
from lrcr.training.global_objective import ContrastiveLoss, GlobalObjective, SolarLoss

from .small import build, small_global

TUPLES = np.array([[0, 9, 1, 2], [3, 12, 4, 5]])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def split(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, positive and negatives of vectors of shape (T, 2 + N, D)."""
    return vectors[:, 0], vectors[:, 1], vectors[:, 2:]


def test_the_loss_of_solar_is_triplets_and_second_order_similarity():
    given = split(F.normalize(draw(2, 4, 6), dim=-1))
    expected = triplet_loss(*given, 1.25) + 3 * second_order_loss(*given)
    torch.testing.assert_close(SolarLoss(1.25, 3.0)(*given), expected)


def test_the_contrastive_loss_has_a_weight():
    given = split(F.normalize(draw(2, 4, 6), dim=-1))
    torch.testing.assert_close(ContrastiveLoss(2.5, 0.7)(*given), 2.5 * contrastive_loss(*given, 0.7))


def test_images_are_compared_by_the_vectors_of_their_tuples():
    embedded = [F.normalize(draw(1, 5, seed=i), dim=1) for i in range(8)]
    loss = GlobalObjective(build(small_global("mac")), ContrastiveLoss(1.0, 0.8)).loss(TUPLES, embedded)
    expected = contrastive_loss(*split(torch.cat(embedded).view(2, 4, 5)), 0.8)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("name", ["mac", "gem", "solar"])
def test_an_image_is_the_normalised_mean_of_its_scales(name):
    model = build(small_global(name)).eval()
    images = draw(2, 3, 32, 48).abs()
    maps = [model.backbone(resize(images, scale)) for scale in (1.0, 0.5)]
    found = GlobalObjective(model, SolarLoss(1.25, 10.0)).embed(maps)
    expected = F.normalize(model(images) + model(resize(images, 0.5)), dim=1)
    assert [tuple(vector.shape) for vector in found] == [(1, model.dim)] * 2
    torch.testing.assert_close(torch.cat(found), expected)
    assert found[0].requires_grad
