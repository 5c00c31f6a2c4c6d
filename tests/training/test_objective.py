import pytest

from lrcr.training.global_objective import ContrastiveLoss, GlobalObjective, SolarLoss
from lrcr.training.local_objective import LocalObjective
from lrcr.training.objective import make_objective
from lrcr.training.super_feature_objective import SuperFeatureObjective

from .small import context, make_setup, small, small_global


def test_a_local_model_has_the_losses_of_the_params(landmarks, pretrained):
    params = context(pretrained, "smoothing.bandwidth_penalty=0.5", "seed=3")
    setup = make_setup(params, landmarks)
    objective = make_objective(params, setup)
    assert isinstance(objective, LocalObjective)
    assert (objective.model, objective.maps) == (setup.model, setup.maps)
    assert objective.settings == params.train.tuples
    assert (objective.bandwidth_penalty, objective.seed) == (0.5, 3)


def test_super_features_have_losses_of_their_own(landmarks):
    params = small("model.name=fire", "super_features={templates: 5, dim: 12}", "train.tuples.fire.margin=1.3")
    setup = make_setup(params, landmarks)
    objective = make_objective(params, setup)
    assert isinstance(objective, SuperFeatureObjective) and objective.model is setup.model
    assert objective.settings == params.train.tuples.fire and objective.settings.margin == 1.3


@pytest.mark.parametrize(
    ("name", "overrides", "loss"),
    [
        ("solar", ("train.tuples.solar={margin: 2, second_order: 3}", "train.tuples.margin=9"), SolarLoss(2, 3)),
        ("gem", ("train.tuples.losses.contrastive=2", "train.tuples.margin=0.7"), ContrastiveLoss(2, 0.7)),
        ("mac", (), ContrastiveLoss(1, 0.8)),
        ("apgem", ("train.method=tuples",), ContrastiveLoss(1, 0.8)),
        ("cfcd", ("train.method=tuples",), ContrastiveLoss(1, 0.8)),
    ],
)
def test_a_global_model_has_the_loss_of_its_vectors(nine, name, overrides, loss):
    params = small_global(name, *overrides)
    setup = make_setup(params, nine)
    objective = make_objective(params, setup)
    assert isinstance(objective, GlobalObjective) and objective.model is setup.model
    assert objective.vector_loss == loss
