from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrcr.errors import WeightsError
from lrcr.models.smoothing import AverageSmoothing
from lrcr.models.whitening import Centring, Whitening, fit_discriminative_whitening, fit_whitening, read_whitening


def draw(count: int, channels: int, seed: int = 0) -> np.ndarray:
    """Correlated features with a mean."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(channels, channels))
    return (rng.normal(size=(count, channels)) @ mixing + rng.normal(size=channels) * 3).astype(np.float32)


def apply(features, weight, bias):
    return features.astype(np.float64) @ weight.T.astype(np.float64) + bias


def test_whitening_against_the_reference(fixtures):
    with np.load(fixtures / "layers.npz") as parity:
        features, expected = parity["whiten_input"], parity["whiten_output_abs"]
        mean = parity["whiten_mean"].ravel()
    weight, bias = fit_whitening([features], 16)
    np.testing.assert_allclose(np.abs(apply(features[:50], weight, bias)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weight @ mean + bias, 0, atol=1e-5)


def test_a_layer_learns_by_pca_and_centring_only_the_mean():
    features = draw(200, 6)
    layer, centring = Whitening(6, 4), Centring(6)
    for each in (layer, centring):
        each.learn([features[:50], features[50:]], shrinkage=0.5)
    weight, bias = fit_whitening([features], 4, shrinkage=0.5)
    np.testing.assert_allclose(layer.weight.detach(), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.bias.detach(), bias, rtol=1e-4, atol=1e-6)
    centred = centring(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(centred, features - features.mean(axis=0), atol=1e-5)
    one = Centring(6)
    one.learn([features[:1]], shrinkage=1.0)
    assert one(torch.from_numpy(features[:1])).abs().max() < 1e-6, "few features suffice"
    with pytest.raises(WeightsError, match="whitening: a feature is not finite"):
        centring.learn([features * np.nan], shrinkage=1.0)


@given(st.integers(1, 6), st.integers(0, 5))
def test_whitened_features_are_centred_decorrelated_and_of_unit_variance(dim, seed):
    features = draw(200, 6, seed)
    whitened = apply(features, *fit_whitening([features], dim))
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(dim), atol=1e-3)


def test_components_are_the_strongest_first():
    features = draw(500, 8)
    variances = apply(features, *fit_whitening([features], 5, shrinkage=0)).var(axis=0)
    all_variances = np.linalg.eigvalsh(np.cov(features.T.astype(np.float64), bias=True))[::-1]
    np.testing.assert_allclose(variances, all_variances[:5], rtol=1e-4)


def test_shrinkage_0_only_rotates():
    features = draw(300, 8)
    weight, bias = fit_whitening([features], 8, shrinkage=0)
    np.testing.assert_allclose(weight @ weight.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(apply(features, weight, bias), axis=1),
        np.linalg.norm(features - features.mean(axis=0), axis=1),
        rtol=1e-4,
    )


@pytest.mark.parametrize("shrinkage", [0.25, 0.5])
def test_shrinkage_divides_by_a_power_of_the_variance(shrinkage):
    features = draw(300, 8)
    full, _ = fit_whitening([features], 8, shrinkage=1)
    none, _ = fit_whitening([features], 8, shrinkage=0)
    part, _ = fit_whitening([features], 8, shrinkage=shrinkage)
    deviation = np.linalg.norm(none, axis=1) / np.linalg.norm(full, axis=1)
    np.testing.assert_allclose(np.linalg.norm(part, axis=1), deviation**-shrinkage, rtol=1e-4)


@given(st.lists(st.integers(0, 200), max_size=4))
def test_batches_equal_one_batch(cuts):
    features = draw(200, 5)
    edges = [0, *sorted(cuts), 200]
    batches = [features[a:b] for a, b in pairwise(edges)]
    weight, bias = fit_whitening(iter(batches), 3)
    expected_weight, expected_bias = fit_whitening([features], 3)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-4, atol=1e-6)


def test_features_far_from_zero_are_whitened_as_well():
    features = draw(2000, 4).astype(np.float64) + 1e4
    whitened = apply(features, *fit_whitening([features], 4))
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(4), atol=0.02)


@pytest.mark.parametrize("batches", [[], [np.zeros((0, 8), np.float32)], [draw(3, 8), draw(1, 8)]])
def test_too_few_features_are_refused(batches):
    count = sum(map(len, batches))
    with pytest.raises(WeightsError) as error:
        fit_whitening(batches, 4)
    remedy = "add images, or lower whitening.dim (of a vector: pooling.projection)"
    assert str(error.value) == f"whitening: 4 dimensions need more than {count} features; {remedy}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    features = draw(20, 4)
    features[7, 2] = value
    with pytest.raises(WeightsError, match="whitening: a feature is not finite; the weights are damaged or training"):
        fit_whitening([features], 3)


def draw_pairs(landmarks: int, channels: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two photos a landmark, which differ along some axes more than along others, and the pairs they are."""
    rng = np.random.default_rng(seed)
    spread, axes = 1 / np.arange(1, channels + 1) ** 0.75, np.linalg.qr(rng.normal(size=(channels, channels)))[0]
    centres = np.repeat(rng.normal(size=(landmarks, channels)) * spread, 2, axis=0)
    vectors = centres + noise * (rng.normal(size=(2 * landmarks, channels)) * spread) @ axes + 0.5
    return vectors.astype(np.float32), np.arange(2 * landmarks).reshape(-1, 2)


def test_discriminative_whitening_against_the_definition():
    """Where pairs are many: inverse Cholesky factor of the differences' covariance, then PCA of all vectors."""
    vectors, pairs = draw_pairs(400, 6, noise=1.0)
    weight, bias = fit_discriminative_whitening(vectors, pairs, 4)
    differences = (vectors[::2] - vectors[1::2]).astype(np.float64)
    inverse = np.linalg.inv(np.linalg.cholesky(differences.T @ differences / 400))
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eig(inverse @ centred.T @ centred @ inverse.T)
    expected = centred @ (axes[:, np.argsort(-values)[:4]].T @ inverse).T
    np.testing.assert_allclose(np.abs(apply(vectors, weight, bias)), np.abs(expected), rtol=1e-3, atol=1e-3)


@given(st.integers(1, 6), st.integers(0, 20))
def test_whitened_differences_of_pairs_have_identity_covariance(dim, seed):
    vectors, pairs = draw_pairs(200, 6, noise=1.0, seed=seed)
    whitened = apply(vectors, *fit_discriminative_whitening(vectors, pairs, dim))
    differences = whitened[pairs[:, 0]] - whitened[pairs[:, 1]]
    np.testing.assert_allclose(differences.T @ differences / len(pairs), np.eye(dim), atol=1e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)
    covariance = whitened.T @ whitened / len(whitened)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3 * covariance[0, 0])
    assert (np.diff(np.diag(covariance)) < 0).all(), "the largest variance first"


def found_first(vectors: np.ndarray, pairs: np.ndarray) -> float:
    """The share of pairs of which the first photo's nearest is the second."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return float((similarity[pairs[:, 0]].argmax(axis=1) == pairs[:, 1]).mean())


@pytest.mark.parametrize("count", [24, 32, 40, 300])
def test_as_few_pairs_as_dimensions_still_help(count):
    vectors, pairs = draw_pairs(500, 32, noise=0.7, seed=3)
    unseen = pairs[300:]
    plain = found_first(vectors - vectors.mean(axis=0), unseen)
    whitened = apply(vectors, *fit_discriminative_whitening(vectors, pairs[:count], 16))
    assert found_first(whitened, unseen) > plain + 0.1


def test_one_pair_weighs_its_axis_down_and_leaves_the_others_white():
    vectors, pairs = draw_pairs(200, 5, noise=1.0)
    weight, bias = fit_discriminative_whitening(vectors, pairs[:1], 5)
    variances = np.sort(apply(vectors, weight, bias).var(axis=0))
    assert np.isfinite(weight).all() and variances[0] < 0.1 * variances[1]
    np.testing.assert_allclose(variances[1:], variances[1], rtol=1e-3)


def test_channels_that_are_never_active_get_no_weight():
    vectors, pairs = draw_pairs(100, 6, noise=1.0)
    padded = np.insert(vectors, [2, 4], 0, axis=1)
    weight, _ = fit_discriminative_whitening(padded, pairs, 5)
    expected, _ = fit_discriminative_whitening(vectors, pairs, 5)
    np.testing.assert_allclose(np.abs(weight[:, [0, 1, 3, 4, 6, 7]]), np.abs(expected), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(weight[:, [2, 5]], 0, atol=1e-4)


def test_vectors_that_cannot_teach_are_refused():
    vectors, pairs = draw_pairs(10, 4, noise=1.0)
    for none in (pairs[:0], np.array([[1, 1], [2, 2]])):
        with pytest.raises(WeightsError) as error:
            fit_discriminative_whitening(vectors, none, 3)
        assert str(error.value) == f"whitening: none of {len(none)} matching pairs differs; label more photos"
    with pytest.raises(WeightsError) as error:
        fit_discriminative_whitening(vectors[:4], pairs[:2], 4)
    assert str(error.value) == "whitening.dim: 4, but the vectors vary along 3 axes; add images or lower it"
    vectors[3, 1] = np.nan
    with pytest.raises(WeightsError, match="whitening: a vector is not finite"):
        fit_discriminative_whitening(vectors, pairs, 3)


def fitted(channels: int, dim: int) -> Whitening:
    whitening = Whitening(channels, dim)
    whitening.assign(*fit_whitening([draw(100, channels)], dim))
    return whitening


def test_module_computes_the_linear_map_on_any_shape():
    whitening = fitted(6, 3)
    features = torch.from_numpy(draw(24, 6)).view(2, 3, 4, 6)
    weight, bias = whitening.weight.detach().numpy(), whitening.bias.detach().numpy()
    expected = apply(features.numpy().reshape(-1, 6), weight, bias).reshape(2, 3, 4, 3)
    np.testing.assert_allclose(whitening(features).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_before_it_is_learned_it_selects_channels():
    features = torch.rand(5, 6)
    assert torch.equal(Whitening(6, 4)(features), features[:, :4])


def test_whitening_commutes_with_smoothing():
    features = torch.from_numpy(draw(2 * 5 * 7, 6)).view(2, 5, 7, 6).movedim(-1, 1)
    whitening, smoothing = fitted(6, 4), AverageSmoothing(3)

    def whiten(features):
        return whitening(features.movedim(1, -1)).movedim(-1, 1)

    torch.testing.assert_close(smoothing(whiten(features)), whiten(smoothing(features)), rtol=1e-4, atol=1e-4)


def test_a_stored_whitening_is_read_as_it_is(tmp_path):
    weight, bias = fit_whitening([draw(50, 6)], 4)
    np.savez(tmp_path / "a.npz", whiten_weight=weight, whiten_bias=bias.astype(np.float64), other=np.zeros(3))
    found = read_whitening(tmp_path / "a.npz", 6, 4)
    assert [array.dtype for array in found] == [np.float32, np.float32]
    np.testing.assert_array_equal(found[0], weight)
    np.testing.assert_array_equal(found[1], bias)


def refusal(path, channels=6, dim=4) -> str:
    with pytest.raises(WeightsError) as error:
        read_whitening(path, channels, dim)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"whitening.file: {path}: ")


def test_a_missing_whitening_is_refused(tmp_path):
    assert refusal(tmp_path / "none.npz") == "no such file; name an .npz file"


@pytest.mark.parametrize("name", ["whiten_weight", "whiten_bias"])
def test_a_missing_array_is_named(tmp_path, name):
    arrays = {"whiten_weight": np.zeros((4, 6)), "whiten_bias": np.zeros(4)}
    del arrays[name]
    np.savez(tmp_path / "a.npz", **arrays)
    message = refusal(tmp_path / "a.npz")
    assert name in message.split(";")[0] and message.endswith("; store whiten_weight and whiten_bias")


@pytest.mark.parametrize(("weight", "bias"), [((4, 5), (4,)), ((3, 6), (3,)), ((4, 6), (3,)), ((6, 4), (4,))])
def test_a_whitening_of_other_shapes_is_refused(tmp_path, weight, bias):
    np.savez(tmp_path / "a.npz", whiten_weight=np.zeros(weight), whiten_bias=np.zeros(bias))
    assert refusal(tmp_path / "a.npz") == (
        f"weight {weight} and bias {bias} do not fit 6 channels and whitening.dim 4; "
        "set backbone or whitening.dim to match"
    )


@pytest.mark.parametrize("name", ["whiten_weight", "whiten_bias"])
def test_a_whitening_that_is_not_finite_is_refused(tmp_path, name):
    arrays = {"whiten_weight": np.zeros((4, 6)), "whiten_bias": np.zeros(4)}
    arrays[name][..., 1] = np.nan
    np.savez(tmp_path / "a.npz", **arrays)
    assert refusal(tmp_path / "a.npz") == "holds values that are not finite; the file is damaged"


def test_files_that_are_no_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", whiten_weight=np.zeros((4, 6)), whiten_bias=np.zeros(4))
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "object.npz", whiten_weight=np.array([{}]), whiten_bias=np.zeros(4))
    (tmp_path / "half.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty.npz").write_text("")
    for path in (*(tmp_path / f"{name}.npz" for name in ("object", "half", "text", "empty")), tmp_path / "single.npy"):
        message = refusal(path)
        assert message.startswith("not an .npz file of arrays (") and message.endswith("); name another")
    assert refusal(tmp_path).startswith("not an .npz file of arrays (")
