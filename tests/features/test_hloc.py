"""Features files as hloc writes them: what is read of them, and what is refused in one line."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.features.exchange import ImageFeatures
from lrcr.features.hloc import hash_features, list_images, read_features, read_images, vector_shape, write_features

ROWS, DIM = 5, 4


def draw(seed: int = 0, rows: int = ROWS, dim: int = DIM) -> dict[str, np.ndarray]:
    """The arrays of an image."""
    rng = np.random.default_rng(seed)
    return {
        "descriptors": rng.normal(size=(dim, rows)).astype(np.float32),
        "keypoints": (rng.random((rows, 2)) * (60, 40)).astype(np.float32),
        "scores": rng.permutation(rows).astype(np.float32),
        "image_size": np.array([64, 48]),
    }


def write(path: Path, **images: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, arrays in images.items():
            for key, values in arrays.items():
                file[f"{name}/{key}"] = values
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_images_are_read_strongest_first_from_the_corner_of_their_first_pixel(tmp_path, dtype):
    one, other = draw(1), draw(2, rows=3)
    for image in (one, other):
        image["descriptors"] = image["descriptors"].astype(dtype)
    file = write(tmp_path / "f.h5", **{"b.jpg": other, "a/sub/1.jpg": one})
    assert list_images(file) == ["a/sub/1.jpg", "b.jpg"]
    found, expected = read_features(file), [one, other]
    assert found.descriptors.dtype == dtype and len(found) == 2
    for image, arrays in enumerate(expected):
        local, order = found.take([image]), np.argsort(-arrays["scores"])
        np.testing.assert_array_equal(local.descriptors, arrays["descriptors"].T[order])
        np.testing.assert_array_equal(local.xy, arrays["keypoints"][order] + np.float32(0.5))
        np.testing.assert_array_equal(local.strength, arrays["scores"][order])
        assert set(local.scale) == {1}
    [named] = read_images(file, ["b.jpg"])
    assert named.size == (64, 48) and hash_features(named.local) == hash_features(found.take([1]))
    assert hash_features(named.local) != hash_features(found.take([0]))


def test_equal_scores_keep_the_order_of_the_file(tmp_path):
    arrays = {**draw(), "scores": np.ones(ROWS, np.float32)}
    found = read_features(write(tmp_path / "f.h5", a=arrays))
    np.testing.assert_array_equal(found.descriptors, arrays["descriptors"].T)


def test_without_scores_the_order_is_that_of_the_file(tmp_path):
    arrays = {name: values for name, values in draw().items() if name != "scores"}
    found = read_features(write(tmp_path / "f.h5", a=arrays))
    np.testing.assert_array_equal(found.descriptors, arrays["descriptors"].T)
    assert set(found.strength) == {1}


def test_descriptors_of_zeros_are_read(tmp_path):
    arrays = {**draw(), "descriptors": np.zeros((DIM, ROWS), np.float16)}
    assert not read_features(write(tmp_path / "f.h5", a=arrays)).descriptors.any()


def test_files_of_global_vectors_are_told(tmp_path):
    one, other = ({"global_descriptor": np.ones(dim, np.float32)} for dim in (8, 7))
    assert vector_shape(write(tmp_path / "a.h5", a=one, b=one)) == [2, 8]
    assert vector_shape(write(tmp_path / "b.h5", a=draw())) is None
    with pytest.raises(ArtifactError, match=r"c\.h5: vectors of shapes .*; describe all images alike"):
        vector_shape(write(tmp_path / "c.h5", a=one, b=other))
    with pytest.raises(ArtifactError, match=r"d\.h5: 'b': has no global_descriptor; store"):
        vector_shape(write(tmp_path / "d.h5", a=one, b=draw()))


def test_the_other_name_of_scores_and_a_file_without_sizes(tmp_path):
    arrays = draw()
    arrays["scales"] = np.arange(ROWS) / 2
    expected = arrays["scales"][np.argsort(-arrays["scores"])]
    arrays["keypoint_scores"] = arrays.pop("scores")
    arrays.pop("image_size")
    arrays["keypoints"][0] = 70.25, 90
    [image] = read_images(write(tmp_path / "f.h5", a=arrays))
    np.testing.assert_array_equal(image.local.scale, expected)
    assert image.size == (71, 91) and image.local.strength.max() == ROWS - 1


TRANSPOSED = draw()["descriptors"].T
WRONG = {
    "no descriptors": ({"descriptors": None}, "has no descriptors; store descriptors of each image"),
    "no keypoints": ({"keypoints": None}, "has no keypoints; store"),
    "transposed": (
        {"descriptors": TRANSPOSED},
        "descriptors (5, 4), keypoints (5, 2) and scores (5,); store them as (D",
    ),
    "keypoints": ({"keypoints": np.zeros((ROWS, 3))}, "keypoints (5, 3) and scores (5,); store them as (D, N), (N, 2)"),
    "scores": ({"scores": np.zeros(ROWS + 1)}, "scores (6,); store them as (D, N), (N, 2) and (N,)"),
    "one row": ({"descriptors": np.zeros(ROWS, np.float32)}, "descriptors (5,), keypoints (5, 2)"),
    "empty": (draw(rows=0), "has no descriptors; leave the image out"),
    "no dimensions": ({"descriptors": np.zeros((0, ROWS), np.float32)}, "has no descriptors; leave the image out"),
    "nan": ({"descriptors": np.full((DIM, ROWS), np.nan, np.float32)}, "descriptors hold NaN or infinity; describe"),
    "infinity": ({"descriptors": np.full((DIM, ROWS), np.inf, np.float16)}, "descriptors hold NaN or infinity"),
    "place": ({"keypoints": np.full((ROWS, 2), np.nan)}, "keypoints hold NaN or infinity; describe the image again"),
    "double": ({"descriptors": np.zeros((DIM, ROWS))}, "descriptors are float64; store float32"),
    "bytes": ({"descriptors": np.zeros((DIM, ROWS), np.uint8)}, "descriptors are uint8; store float32"),
    "texts": ({"scores": [b"a"] * ROWS}, "scores are object; store float32"),
    "null": ({"scores": h5py.Empty("f4")}, "scores are empty; store scores of each image"),
    "a group": ({"descriptors/x": np.zeros(2), "descriptors": None}, "has no descriptors; store"),
    "dimensions": (draw(dim=DIM + 1), "descriptors of 5 dimensions, not 4; describe all images alike"),
    "scales": ({"scales": np.ones(2)}, "scales (2,) for 5 keypoints; store one for each"),
    "size": ({"image_size": np.array([0, 4])}, "image_size is [0, 4]; store width and height"),
    "far": (
        {"keypoints": draw()["keypoints"] * 1e30},
        "a keypoint is more than 16777216 pixels away; store pixels of the",
    ),
    "too far": (
        {"keypoints": np.full((ROWS, 2), 1e300)},
        "keypoints hold larger numbers than float32; describe the image",
    ),
    "too certain": (
        {"scores": np.full(ROWS, 1e300)},
        "scores hold larger numbers than float32; describe the image again",
    ),
    "long": (
        {"descriptors": np.full((DIM, ROWS), 3e38, np.float32)},
        "the norm of a descriptor is over 1e+18; divide all by a constant",
    ),
    "huge": ({"image_size": np.array([1e25, 4])}, "image_size is [1e+25, 4.0]; store width and height in pixels"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", WRONG)
def test_an_image_that_is_refused_is_named(tmp_path, name):
    changed, said = WRONG[name]
    arrays = {key: values for key, values in {**draw(), **changed}.items() if values is not None}
    file = write(tmp_path / "f.h5", **{"a.jpg": draw(), "b/c.jpg": arrays})
    with pytest.raises(ArtifactError, match=re.escape(f"{file}: 'b/c.jpg': ") + ".*" + re.escape(said)) as error:
        read_features(file, None if name != "a group" else ["b/c.jpg"])
    assert "\n" not in str(error.value)


def test_a_file_that_is_refused_is_named(tmp_path):
    good = write(tmp_path / "good.h5", a=draw())
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[:-700])
    write(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["descriptors"] = np.zeros(3)
    for name, said in (
        ("no.h5", "no such file; name an HDF5 file of local descriptors"),
        ("text.h5", "not an HDF5 file; store local descriptors as hloc does"),
        ("cut.h5", "cannot be read (.*); write it again"),
        ("empty.h5", "holds no image; store a group for each image, as hloc does"),
        ("flat.h5", "holds arrays outside of groups; store a group for each image"),
    ):
        with pytest.raises(ArtifactError, match=f"{tmp_path / name}: {said}"):
            read_features(tmp_path / name)
    with pytest.raises(ArtifactError, match=r"good\.h5: 'b': no such image"):
        read_features(good, ["b"])
    with pytest.raises(ArtifactError, match=r"good\.h5: 'a': descriptors of 4 dimensions, not 8"):
        read_features(good, dim=8)


def test_what_is_exported_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        ImageFeatures(
            name,
            640,
            480,
            {
                "descriptors": rng.normal(size=(count, 8)).astype(np.float32),
                "xy": rng.uniform(0, 480, (count, 2)).astype(np.float32),
                "strength": np.sort(rng.random(count).astype(np.float32))[::-1],
                "scale": rng.choice([0.5, 1.0], count).astype(np.float32),
            },
        )
        for name, count in (("a/0.jpg", 5), ("b.jpg", 3))
    ]
    write_features(tmp_path / "features.h5", images)
    for image, found in zip(images, read_images(tmp_path / "features.h5"), strict=True):
        assert found.size == (640, 480)
        np.testing.assert_array_equal(found.local.descriptors, image.arrays["descriptors"])
        np.testing.assert_array_equal(found.local.strength, image.arrays["strength"])
        np.testing.assert_array_equal(found.local.scale, image.arrays["scale"])
        np.testing.assert_allclose(found.local.xy, image.arrays["xy"], atol=1e-4)
