import numpy as np
import pytest
from PIL import Image

from lrcr.report.edges import EdgeCorrelation, correlate_with_edges, gradient_magnitude, summarise
from lrcr.report.inspection import Inspection


def insight(photo, bandwidth):
    attention = np.ones((4, 8) if bandwidth is None else bandwidth.shape, np.float32)
    nothing = dict.fromkeys(("change", "gate", "share", "confidence"))
    return Inspection(photo, attention, attention, bandwidth=bandwidth, locations=(), **nothing)


@pytest.fixture
def photo():
    """Noise whose contrast grows from left to right: 64 × 32."""
    noise = np.random.default_rng(0).uniform(-1, 1, (32, 64)) * np.linspace(5, 120, 64)
    return Image.fromarray((128 + noise).astype(np.uint8)).convert("RGB")


def sobel(grey):
    """The definition, pixel by pixel, with the border repeated."""
    padded = np.pad(grey / 255, 1, mode="edge")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    result = np.empty(grey.shape)
    for y, x in np.ndindex(grey.shape):
        window = padded[y : y + 3, x : x + 3]
        result[y, x] = np.hypot((window * kernel).sum(), (window * kernel.T).sum())
    return result


@pytest.mark.parametrize("shape", [(4, 8), (1, 1), (16, 16)])
def test_gradients_against_the_definition(shape):
    grey = np.random.default_rng(0).integers(0, 256, (16, 32)).astype(np.uint8)
    cells = sobel(grey).reshape(shape[0], 16 // shape[0], shape[1], 32 // shape[1]).mean(axis=(1, 3))
    found = gradient_magnitude(Image.fromarray(grey).convert("RGB"), shape)
    np.testing.assert_allclose(found, cells, rtol=1e-4)


def test_cells_are_those_of_the_locations_where_the_stride_does_not_divide():
    assert gradient_magnitude(Image.new("RGB", (33, 17)), (5, 9)).shape == (5, 9)


def test_a_ramp_of_one_level_a_pixel_has_that_gradient():
    ramp = np.arange(64, dtype=np.uint8)[None].repeat(16, axis=0)
    found = gradient_magnitude(Image.fromarray(ramp).convert("RGB"), (1, 8))
    np.testing.assert_allclose(found[0, 1:-1], 1 / 255, rtol=1e-4)


def test_a_bandwidth_that_follows_the_gradient_correlates_wholly(photo):
    gradient = gradient_magnitude(photo, (4, 8))
    assert correlate_with_edges(insight(photo, gradient)) == pytest.approx(1)
    assert correlate_with_edges(insight(photo, np.exp(50 * gradient))) == pytest.approx(1), "only the order counts"
    assert correlate_with_edges(insight(photo, -gradient)) == pytest.approx(-1)


def test_equal_bandwidths_share_their_rank(photo):
    """Spearman's with ties, on three columns of rising gradient: ranks 1.5, 1.5, 3 against 1, 2, 3."""
    narrow = photo.resize((48, 1), Image.Resampling.NEAREST)
    gradient = gradient_magnitude(narrow, (1, 3))
    assert np.argsort(gradient[0]).tolist() == [0, 1, 2]
    found = correlate_with_edges(insight(narrow, np.array([[0, 0, 5]], np.float32)))
    assert found == pytest.approx(np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1])


def test_where_no_correlation_is_defined(photo):
    assert correlate_with_edges(insight(photo, np.full((4, 8), 0.3, np.float32))) is None
    flat = Image.new("RGB", (64, 32), "#336699")
    assert correlate_with_edges(insight(flat, np.arange(32, dtype=np.float32).reshape(4, 8))) is None
    assert correlate_with_edges(insight(photo, None)) is None


def test_mean_and_standard_error():
    assert summarise([]) == EdgeCorrelation(None, None, 0)
    assert summarise([0.25]) == EdgeCorrelation(0.25, None, 1)
    values = [0.1, 0.5, -0.3]
    found = summarise(values)
    assert (found.mean, found.images) == (pytest.approx(0.1), 3)
    assert found.standard_error == pytest.approx(0.4 / np.sqrt(3))
