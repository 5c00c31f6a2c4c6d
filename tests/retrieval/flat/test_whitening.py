import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.retrieval.flat.vectors import RowWhitening
from lrcr.retrieval.flat.whitening import open_whitening, save_whitening
from lrcr.storage.artifacts import Manifest


def draw(rows, dim):
    return np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)


def test_a_whitening_comes_back_as_it_was_stored(tmp_path):
    whitening = RowWhitening(draw(5, 8), draw(1, 5)[0])
    save_whitening(tmp_path, whitening, Manifest("codebook", {"a": 1}, {"b": "c"}))
    found, manifest = open_whitening(tmp_path)
    np.testing.assert_array_equal(found.weight, whitening.weight)
    np.testing.assert_array_equal(found.bias, whitening.bias)
    assert (manifest.params, manifest.inputs, manifest.facts["dimensions"]) == ({"a": 1}, {"b": "c"}, 5)


def test_that_there_is_none_is_stored_too(tmp_path):
    save_whitening(tmp_path, None, Manifest("codebook", {}, {}))
    assert open_whitening(tmp_path)[0] is None


@pytest.mark.parametrize("name", ["weight.npy", "bias.npy"])
@pytest.mark.parametrize("gone", [False, True])
def test_damage_is_told(tmp_path, name, gone):
    save_whitening(tmp_path, RowWhitening(draw(5, 8), draw(1, 5)[0]), Manifest("codebook", {}, {}))
    contents = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink() if gone else (tmp_path / name).write_bytes(contents[:-1] + b"x")
    with pytest.raises(ArtifactError, match=f"{name}: missing or altered since it was made"):
        open_whitening(tmp_path)
