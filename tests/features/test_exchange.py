"""Features written for other programs, read back by the libraries that these use."""

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from lrcr.errors import ArtifactError
from lrcr.features import exchange
from lrcr.features.exchange import ImageFeatures, write_npz, write_parquet
from lrcr.features.hloc import write_features

COUNTS = {"church/00.jpg": 3, "church/01.jpg": 0, "a b.jpg": 5}
DIM, VECTOR = 4, 6


def draw(*, local: bool = True, vector: bool = False, dtype: str = "float16") -> list[ImageFeatures]:
    rng = np.random.default_rng(0)
    images = []
    for name, count in COUNTS.items():
        arrays = {}
        if local:
            arrays["descriptors"] = rng.normal(size=(count, DIM)).astype(dtype)
            arrays["xy"] = rng.uniform(0, 300, (count, 2)).astype(np.float32)
            arrays["strength"] = rng.random(count, np.float32)
            arrays["scale"] = rng.random(count, np.float32)
        if vector:
            arrays["vector"] = rng.normal(size=VECTOR).astype(np.float32)
        images.append(ImageFeatures(name, 400 + count, 300, arrays))
    return images


KINDS = [{}, {"dtype": "float32"}, {"local": False, "vector": True}, {"vector": True}]


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_has_a_row_for_each_image(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(exchange, "_AT_ONCE", 2)
    images = draw(**kind)
    assert write_parquet(tmp_path / "a.parquet", iter(images)) == 3
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 2
    for row, image in zip(file.read().to_pylist(), images, strict=True):
        assert (row["image"], row["width"], row["height"]) == (image.name, image.width, image.height)
        assert set(row) == {"image", "width", "height", *image.arrays}
        for name, array in image.arrays.items():
            found = np.array(row[name], array.dtype).reshape(array.shape)
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("kind", KINDS)
def test_npz_has_arrays_over_all_images(tmp_path, kind):
    images = draw(**kind)
    assert write_npz(tmp_path / "a.npz", iter(images)) == 3
    with np.load(tmp_path / "a.npz") as file:
        assert file["names"].tolist() == list(COUNTS)
        assert file["sizes"].tolist() == [[image.width, image.height] for image in images]
        assert ("offsets" in file) == ("descriptors" in images[0].arrays)
        for number, image in enumerate(images):
            for name, array in image.arrays.items():
                own = number if name == "vector" else slice(*file["offsets"][number : number + 2])
                np.testing.assert_array_equal(file[name][own], array)
                assert file[name].dtype == array.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_hloc_reads_columns_of_descriptors_and_centres_of_pixels(tmp_path, kind):
    images = draw(**kind)
    assert write_features(tmp_path / "a.h5", iter(images)) == 3
    names = {"descriptors": "descriptors", "xy": "keypoints", "strength": "scores", "scale": "scales"}
    names["vector"] = "global_descriptor"
    with h5py.File(tmp_path / "a.h5", "r") as file:
        for image in images:
            group = file[image.name]
            assert set(group) == {"image_size", *(names[name] for name in image.arrays)}
            assert group["image_size"][:].tolist() == [image.width, image.height]
            if "descriptors" in image.arrays:
                assert group["descriptors"].shape == (DIM, COUNTS[image.name])
                np.testing.assert_array_equal(group["descriptors"][:].T, image.arrays["descriptors"])
                np.testing.assert_allclose(group["keypoints"][:] + 0.5, image.arrays["xy"], rtol=1e-6)
            for name in {"strength", "scale", "vector"} & image.arrays.keys():
                np.testing.assert_array_equal(group[names[name]][:], image.arrays[name])


@pytest.mark.parametrize("write", [write_parquet, write_npz, write_features])
def test_a_file_of_no_images_or_of_two_with_one_name_is_not_written(tmp_path, write):
    with pytest.raises(ArtifactError, match=r"a: there are no images to write; name a source that has some$"):
        write(tmp_path / "a", iter([]))
    with pytest.raises(ArtifactError, match=r"a: two images are named 'church/00\.jpg'; export images of different"):
        write(tmp_path / "a", [*draw(), *draw()])
    assert not list(tmp_path.iterdir())
