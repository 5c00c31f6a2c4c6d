import pytest

from lrcr.training.optimizer import PartsOptimizer

from .small import build, context, small, small_global

RATES = "train.tuples.learning_rates={backbone: 1e-3, context: 1e-2, whitening: 0}"


def optimize(params) -> PartsOptimizer:
    return PartsOptimizer(params.train.tuples, build(params), weight_decay=0.25)


def test_the_rate_of_the_context_rises_and_that_of_the_trunk_does_not(pretrained):
    parts = optimize(context(pretrained, RATES, "train.tuples.warmup_steps=3", "train.tuples.lr_decay=0.5"))
    seen = []
    for epochs, steps in ((0, 0), (0, 1), (0, 3), (0, 9), (1, 10)):
        parts.set_rates(epochs, steps)
        backbone, smoothing, graph, whitening = (group["lr"] for group in parts.adam.param_groups)
        assert smoothing == graph and whitening == 0
        assert parts.largest_rate == max(backbone, smoothing)
        seen.append((backbone / 1e-3, smoothing / 1e-2))
    assert seen == [(1, 0.25), (1, 0.5), (1, 1), (1, 1), (0.5, 0.5)]


@pytest.mark.parametrize(
    ("frozen", "chosen", "trained"),
    [
        (False, None, {"backbone", "smoothing", "graph"}),
        (True, None, {"smoothing", "graph"}),
        (False, ("graph", "whitening", "backbone"), {"backbone", "graph"}),
        (True, ("smoothing",), {"smoothing"}),
    ],
)
def test_parts_that_are_not_trained_get_no_gradient(pretrained, frozen, chosen, trained):
    params = context(pretrained, RATES)
    model = build(params)
    if frozen:
        model.freeze(0)
    PartsOptimizer(params.train.tuples, model, weight_decay=0, chosen=chosen)
    for part, parameters in model.parts().items():
        assert parameters and {parameter.requires_grad for parameter in parameters} == {part in trained}, part


def test_every_part_of_every_model_has_a_rate():
    for name in ("mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"):
        rates = optimize(small_global(name)).rates
        assert rates == {"backbone": 1e-3, "attention": 1e-2, "pooling": 1e-2, "projection": 1e-2}
    fire = optimize(small("model.name=fire", "super_features={templates: 5, dim: 12}"))
    assert fire.rates == {"backbone": 1e-3, "super_features": 5e-5, "whitening": 0}
    assert optimize(small()).rates == {"backbone": 1e-3, "smoothing": 5e-5, "graph": 5e-5, "whitening": 0}


def test_weight_decay_is_that_of_all_parts():
    assert {group["weight_decay"] for group in optimize(small()).adam.param_groups} == {0.25}


def test_the_rate_that_is_logged_is_that_of_a_part_with_parameters(pretrained):
    parts = optimize(small(f"backbone.weights={pretrained}", "train.tuples.learning_rates.context=0.5"))
    parts.set_rates(0, 1000)
    assert parts.largest_rate == 1e-3, "there is no context"
