import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.models.pooling import GeM, attention_pool, gem, mac, regional_gem, rmac, rmac_regions, scale_gem, spoc


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("name", "pool"), [("mac", mac), ("spoc", spoc), ("gem", gem), ("gem", GeM()), ("rmac", rmac)])
def test_against_the_reference(fixtures, name, pool):
    with np.load(fixtures / "layers.npz") as parity:
        features, expected = torch.from_numpy(parity["feature_map"]), parity[name]
    np.testing.assert_allclose(pool(features), expected, rtol=0, atol=1e-5)


def test_the_pooling_of_superglobal_against_the_reference(fixtures):
    with np.load(fixtures / "superglobal.npz") as file:
        names = ("feature_map", "relup", "rgem", "gem", "sgem_in", "sgem")
        parity = {name: torch.from_numpy(file[name]) for name in names}
    features = parity["feature_map"]
    assert (parity["relup"] != features).any()
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(GeM(4.6)(features), parity["gem"], **close)
    torch.testing.assert_close(regional_gem(features), parity["rgem"], **close)
    torch.testing.assert_close(scale_gem(parity["sgem_in"]), parity["sgem"], **close)
    torch.testing.assert_close(GeM(4.6, clamp=0.014)(features), gem(parity["relup"], 4.6), **close)
    torch.testing.assert_close(GeM(4.6, regional=True)(features), gem(parity["rgem"], 4.6), **close)
    both = GeM(4.6, clamp=0.014, regional=True)(features)
    torch.testing.assert_close(both, gem(regional_gem(parity["relup"]), 4.6), **close)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (3, 3)])
def test_regional_gem_of_small_maps(height, width):
    """A constant map stays as it is, whatever its size."""
    features = torch.full((1, 2, height, width), 0.3, dtype=torch.float64)
    torch.testing.assert_close(regional_gem(features), features)


def rmac_by_definition(features: np.ndarray, levels: int, overlap: float) -> np.ndarray:
    """One image, region by region, as the paper lays them out."""
    _, height, width = features.shape
    shorter, longer = min(height, width), max(height, width)
    extra = 0
    if longer > shorter:
        overlaps = [1 - (longer - shorter) / (count - 1) / shorter for count in range(2, 8)]
        extra = 1 + int(np.argmin([abs(found - overlap) for found in overlaps]))
    total = features.max(axis=(1, 2))
    total = total / np.linalg.norm(total)
    for level in range(1, levels + 1):
        side = int(2 * shorter / (level + 1))
        rows, columns = level + extra * (height > width), level + extra * (width > height)
        for i in range(rows if side else 0):
            for j in range(columns):
                top = int((height - side) * i / (rows - 1) + 1e-9) if rows > 1 else 0
                left = int((width - side) * j / (columns - 1) + 1e-9) if columns > 1 else 0
                region = features[:, top : top + side, left : left + side].max(axis=(1, 2))
                total = total + region / np.linalg.norm(region)
    return total


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from([0.2, 0.4, 0.6]))
def test_rmac_against_the_definition(height, width, levels, overlap):
    features = draw(1, 4, height, width)
    expected = rmac_by_definition(features[0].numpy(), levels, overlap)
    np.testing.assert_allclose(rmac(features, levels, overlap)[0], expected, rtol=1e-9)


@settings(deadline=None)
@given(st.integers(3, 40), st.integers(3, 40))
def test_regions_reach_all_four_edges(height, width):
    for row, column in [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]:
        features = torch.zeros(1, 2, height, width)
        features[:, 0] = 1
        features[:, 1, row, column] = 1
        assert (rmac_regions(features)[0, 1:, 1] > 0).any()


def test_regions_are_unit_vectors_of_which_the_first_is_the_whole_map():
    features = draw(3, 5, 12, 9)
    regions = rmac_regions(features)
    torch.testing.assert_close(regions.norm(dim=-1), torch.ones(regions.shape[:2], dtype=torch.float64))
    torch.testing.assert_close(regions[:, 0], torch.nn.functional.normalize(mac(features), dim=1))
    torch.testing.assert_close(regions.sum(dim=1), rmac(features))


@settings(deadline=None)
@given(st.floats(1, 5), st.floats(1.01, 3))
def test_gem_lies_between_mean_and_maximum_and_rises_with_p(p, factor):
    features = draw(2, 3, 5, 4)
    low, high = gem(features, p), gem(features, p * factor)
    assert (spoc(features) <= low + 1e-9).all() and (low < high).all() and (high < mac(features)).all()


def test_gem_is_spoc_at_1_and_nears_mac():
    features = draw(2, 3, 5, 4)
    torch.testing.assert_close(gem(features, 1.0), spoc(features))
    torch.testing.assert_close(gem(features, 500.0), mac(features), rtol=0.01, atol=0.01)


def test_p_is_learned_where_it_may_be():
    pool = GeM(3.0, learnable=True)
    features = draw(2, 3, 5, 4).float() + 0.1
    pool(features).sum().backward()
    step = 1e-2
    slope = (gem(features, 3.0 + step).sum() - gem(features, 3.0 - step).sum()) / (2 * step)
    assert pool.p.grad.item() == pytest.approx(slope.item(), rel=1e-2)
    assert not list(GeM(3.0).parameters()) and GeM(3.0).state_dict().keys() == pool.state_dict().keys()


@pytest.mark.parametrize("pool", [mac, spoc, gem, rmac, regional_gem])
def test_gradients_against_differences(pool):
    assert torch.autograd.gradcheck(pool, draw(2, 3, 7, 5).requires_grad_())


def test_maps_that_are_zero_have_finite_vectors_and_gradients():
    for pool in (mac, spoc, gem, rmac, regional_gem):
        features = torch.zeros(1, 3, 6, 4, requires_grad=True)
        vector = pool(features)
        vector.sum().backward()
        assert torch.isfinite(vector).all() and torch.isfinite(features.grad).all()


def test_attention_pool_weighs_by_attention_whatever_its_scale():
    features, attention = draw(2, 3, 4, 5), draw(2, 4, 5, seed=1)
    expected = torch.einsum("bdhw,bhw->bd", features, attention)
    for scale in (1.0, 7.0):
        torch.testing.assert_close(
            attention_pool(features, scale * attention), expected / expected.norm(dim=1, keepdim=True)
        )
