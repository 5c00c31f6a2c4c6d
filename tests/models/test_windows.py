from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.models.smoothing import AverageSmoothing, Filter, centre_share, smooth
from lrcr.models.windows import smooth_at, weights_at


def draw(size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def draw_filter(seed, height, width, scale=1.0, confident=True, embedded=False):
    return Filter(
        bandwidth=draw((1, 1, height, width), seed).abs() * scale,
        confidence=draw((1, 1, height, width), seed + 1).clamp(0, 1) * confident,
        embedding=draw((1, 3, height, width), seed + 2) if embedded else None,
    )


SHAPES = {
    "seed": st.integers(0, 2**32),
    "kernel": st.sampled_from([1, 3, 5]),
    "height": st.integers(1, 5),
    "width": st.integers(1, 5),
    "embedded": st.booleans(),
    "scale": st.sampled_from([0.0, 1.0, 1e6]),
    "confident": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_the_same_as_smoothing_the_whole_map(seed, kernel, height, width, embedded, scale, confident):
    filter_ = draw_filter(seed, height, width, scale, confident, embedded)
    features = draw((1, 4, height, width), seed + 3)
    rows = torch.randint(height * width, (7,), generator=torch.Generator().manual_seed(seed))
    for given_filter, whole in (
        (filter_, smooth(features, filter_, kernel)),
        (None, AverageSmoothing(kernel)(features)),
    ):
        found = smooth_at(features, given_filter, kernel, rows)
        torch.testing.assert_close(found, whole[0].flatten(1).T[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embedded", [False, True])
def test_the_gradient_is_that_of_smoothing_the_whole_map(embedded):
    filter_, features = draw_filter(0, 6, 7, embedded=embedded), draw((1, 4, 6, 7), 3)
    leaves = [tensor.requires_grad_() for tensor in (features, *vars(filter_).values()) if tensor is not None]
    rows, weight = torch.tensor([0, 8, 41, 8, 20]), draw((5, 4), 4)
    expected = torch.autograd.grad((weight * smooth(features, filter_, 3)[0].flatten(1).T[rows]).sum(), leaves)
    found = torch.autograd.grad((weight * smooth_at(features, filter_, 3, rows)).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_no_location_gives_no_rows():
    assert smooth_at(draw((1, 4, 3, 3)), None, 3, torch.empty(0, dtype=torch.int64)).shape == (0, 4)


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_the_weights_at_a_location_are_those_it_is_smoothed_with(
    seed, kernel, height, width, embedded, scale, confident
):
    filter_ = draw_filter(seed, height, width, scale, confident, embedded)
    features = draw((1, 4, height, width), seed + 3)
    smoothed = smooth(features, filter_, kernel)
    reach = kernel // 2
    padded = np.full((4, height + 2 * reach, width + 2 * reach), np.nan)
    padded[:, reach : reach + height, reach : reach + width] = features[0]
    for y, x in product(range(height), range(width)):
        weights = weights_at(filter_, kernel, y, x).numpy()
        window = padded[:, y : y + kernel, x : x + kernel]
        np.testing.assert_array_equal(np.isnan(weights), np.isnan(window[0]))
        assert np.nansum(weights) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(np.nansum(weights * window, axis=(1, 2)), smoothed[0, :, y, x], rtol=1e-4, atol=1e-4)
        share = weights[reach, reach] * np.isfinite(weights).sum()
        assert centre_share(filter_, kernel)[0, y, x].item() == pytest.approx(share, rel=1e-4, abs=1e-6)


def test_the_gradient_is_the_same_to_the_last_bit_with_several_threads(threads):
    """Windows overlap, so that many of them add to the gradient of one location."""
    filter_ = replace(draw_filter(0, 40, 60), embedding=draw((1, 16, 40, 60), 2))
    features = draw((1, 64, 40, 60), 3)
    leaves = [tensor.requires_grad_() for tensor in (features, *vars(filter_).values())]
    rows, weight = torch.randperm(2400, generator=torch.Generator().manual_seed(0))[:1000], draw((1000, 64), 4)
    with threads(2):
        found = [torch.autograd.grad((weight * smooth_at(features, filter_, 3, rows)).sum(), leaves) for _ in range(15)]
    for again in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(again, found[0], strict=True))
