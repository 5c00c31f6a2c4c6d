import torch
import torch.nn.functional as F

from lrcr.training.classifier import ClassifierHead

from .small import build, small_global


def test_cosines_do_not_depend_on_the_length_of_the_weights():
    head = ClassifierHead(build(small_global("gem")), 5, seed=0)
    vectors = F.normalize(torch.randn(3, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    found = head.cosines(vectors)
    expected = torch.stack([F.cosine_similarity(vectors, row[None]) for row in head.weights], dim=1)
    assert found.shape == (3, 5)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        head.weights *= 7
    torch.testing.assert_close(head.cosines(vectors), expected)


def test_the_seed_draws_the_weights_in_the_range_of_a_linear_layer():
    model = build(small_global("gem"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (ClassifierHead(model, 400, seed).weights.detach() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    bound = 64**-0.5
    assert -bound <= first.min() < -0.99 * bound and 0.99 * bound < first.max() <= bound
    assert abs(float(first.mean())) < 0.01 * bound


def test_model_and_classifier_are_trained_together():
    model = build(small_global("gem"))
    names = {name for name, _ in ClassifierHead(model, 5, seed=0).named_parameters()}
    assert names == {"weights", *(f"model.{name}" for name, _ in model.named_parameters())}
