import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lrcr.errors import ArtifactError
from lrcr.features import store as store_module
from lrcr.features.store import Descriptors, join, open_descriptors, read_shard, write_shard
from lrcr.storage.artifacts import MANIFEST, Manifest, read_json, write_json, write_manifest

ARRAYS = ("descriptors", "strength", "xy", "scale", "offsets")


def draw(counts: list[int], dim: int = 4, dtype: str = "float32", seed: int = 0) -> Descriptors:
    rng = np.random.default_rng(seed)
    rows = sum(counts)
    return Descriptors(
        descriptors=rng.normal(size=(rows, dim)).astype(dtype),
        strength=rng.random(rows, np.float32),
        xy=rng.random((rows, 2), np.float32),
        scale=rng.random(rows, np.float32),
        offsets=np.cumsum([0, *counts], dtype=np.int64),
    )


def assert_same(found: Descriptors, expected: Descriptors) -> None:
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def split(found: Descriptors) -> list[Descriptors]:
    """The images one by one, cut with plain loops."""
    images = []
    for start, end in zip(found.offsets[:-1], found.offsets[1:], strict=True):
        rows = list(range(start, end))
        parts = (getattr(found, name)[rows] for name in ARRAYS[:-1])
        images.append(Descriptors(*parts, np.array([0, len(rows)])))
    return images


def store(folder, shards: list[Descriptors], size: int, **facts):
    folder.mkdir(exist_ok=True)
    names = [f"shard-{i}.h5" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_shard(folder / name, shard)
    images = sum(map(len, shards))
    counts = {"images": images, "descriptors": sum(len(part.descriptors) for part in shards)}
    write_manifest(folder, Manifest("descriptors", {}, {}, {**counts, "shards": names, "shard": size, **facts}))
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("counts", [[3, 0, 2], [0], [], [1]])
def test_shard_round_trip(tmp_path, dtype, counts):
    shard = draw(counts, dtype=dtype)
    write_shard(tmp_path / "a.h5", shard)
    assert_same(read_shard(tmp_path / "a.h5"), shard)


def test_equal_arrays_give_equal_bytes(tmp_path):
    write_shard(tmp_path / "a", draw([3, 2]))
    time.sleep(1.1)  # HDF5 would note the second
    write_shard(tmp_path / "b", draw([3, 2]))
    write_shard(tmp_path / "c", draw([3, 2], seed=1))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_one_image_is_read_alone(tmp_path):
    shard = draw([3, 0, 2])
    write_shard(tmp_path / "a.h5", shard)
    for image, expected in enumerate(split(shard)):
        assert_same(read_shard(tmp_path / "a.h5", image), expected)


@pytest.mark.parametrize("image", [-1, 3, 4])
def test_an_image_that_a_shard_does_not_hold_is_refused(tmp_path, image):
    write_shard(tmp_path / "a.h5", draw([3, 0, 2]))
    with pytest.raises(ArtifactError, match=f"no image {image}"):
        read_shard(tmp_path / "a.h5", image)


COUNTS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@given(COUNTS, st.data())
def test_take_against_lists(counts, data):
    found = draw(counts)
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=6))
    expected = [split(found)[i] for i in chosen]
    for taken, one in zip(split(found.take(chosen)), expected, strict=True):
        assert_same(taken, one)
    assert len(found.take(chosen)) == len(chosen)


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_join_against_lists(parts):
    shards = [draw(counts, seed=i) for i, counts in enumerate(parts)]
    expected = [image for shard in shards for image in split(shard)]
    joined = join(shards)
    assert len(joined) == len(expected)
    for one, other in zip(split(joined), expected, strict=True):
        assert_same(one, other)


@given(COUNTS)
def test_joining_the_images_gives_the_whole(counts):
    found = draw(counts, dtype="float16")
    assert_same(join([found.take([i]) for i in range(len(counts))]), found)
    assert_same(join([found, found.take([])]), found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("descriptors", np.zeros(5, np.float32)),
        ("descriptors", np.zeros((4, 4), np.float32)),
        ("strength", np.zeros(4, np.float32)),
        ("strength", np.zeros((5, 1), np.float32)),
        ("xy", np.zeros((5, 3), np.float32)),
        ("scale", np.zeros(6, np.float32)),
    ],
)
def test_arrays_of_other_shapes_are_refused(name, value):
    arrays = {key: getattr(draw([3, 2]), key) for key in ARRAYS}
    with pytest.raises(ArtifactError, match=r"descriptors: arrays of unequal length .*; extract again"):
        Descriptors(**{**arrays, name: value})


@pytest.mark.parametrize("offsets", [[], [0], [5], [1, 5], [0, 4], [0, 6], [0, 3, 2, 5], [0, -1, 5]])
def test_offsets_that_do_not_ascend_to_the_rows_are_refused(offsets):
    arrays = {key: getattr(draw([3, 2]), key) for key in ARRAYS}
    with pytest.raises(ArtifactError, match="offsets do not ascend from 0 to the number of rows; extract again"):
        Descriptors(**{**arrays, "offsets": np.array(offsets, np.int64)})


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"a\.h5: no such file; extract again"):
        read_shard(tmp_path / "a.h5")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"text")
    with pytest.raises(ArtifactError, match=r"a\.h5: not a shard of descriptors .*; extract again"):
        read_shard(path)
    write_shard(path, draw([30]))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"a\.h5: not a shard of descriptors .*; extract again"):
        read_shard(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_shard_that_lacks_an_array_is_refused(tmp_path, name):
    write_shard(tmp_path / "a.h5", draw([3]))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[name]
    with pytest.raises(ArtifactError, match=r"a\.h5: not a shard of descriptors"):
        read_shard(tmp_path / "a.h5")


def test_a_shard_that_breaks_the_contract_is_named(tmp_path):
    write_shard(tmp_path / "a.h5", draw([3, 2]))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["offsets"][:] = [0, 7, 5]
    with pytest.raises(ArtifactError, match=r"a\.h5: descriptors: offsets do not ascend .*; extract again"):
        read_shard(tmp_path / "a.h5")


@settings(deadline=None)
@given(st.integers(0, 5000), st.binary(min_size=1, max_size=40))
@example(888, b"\x00")  # a type that the HDF5 library refuses
def test_no_damage_escapes_as_another_error(tmp_path_factory, at, noise):
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    write_shard(path, draw([3, 0, 2]))
    contents = bytearray(path.read_bytes())
    contents[at : at + len(noise)] = noise
    path.write_bytes(contents)
    try:
        assert len(read_shard(path)) >= 0
    except ArtifactError as error:
        assert str(path) in str(error)


def test_store_reads_shards_and_images(tmp_path):
    whole = draw([1, 2, 0, 3, 1])
    shards = [whole.take([0, 1]), whole.take([2, 3]), whole.take([4])]
    opened = open_descriptors(store(tmp_path, shards, 2))
    assert opened.images == 5
    assert_same(opened.read(), whole)
    for found, expected in zip(opened.shards(), shards, strict=True):
        assert_same(found, expected)
    for image, expected in enumerate(split(whole)):
        assert_same(opened.image(image), expected)


@pytest.mark.parametrize("images", [[0, 1, 2, 3, 4], [1, 4], [2], []])
def test_locations_are_those_of_the_images_without_their_descriptors(tmp_path, images, monkeypatch):
    whole = draw([1, 2, 0, 3, 1])
    opened = open_descriptors(store(tmp_path, [whole.take([0, 1]), whole.take([2, 3]), whole.take([4])], 2))
    read = []
    monkeypatch.setattr(store_module, "read_shard", lambda path, **how: read.append(path) or read_shard(path, **how))
    for found, image in zip(opened.locations(images), images, strict=True):
        expected = split(whole)[image]
        assert found.descriptors.shape == (len(expected.descriptors), 0)
        assert_same(replace(found, descriptors=expected.descriptors), expected)
    assert len(read) == len({image // 2 for image in images}), "each shard is read once"


@pytest.mark.parametrize("image", [-1, 4, 9])
def test_an_image_that_the_store_does_not_hold_is_refused(tmp_path, image):
    opened = open_descriptors(store(tmp_path, [draw([1, 2]), draw([0, 3])], 2))
    for read in (opened.image, lambda image: list(opened.locations([0, image]))):
        with pytest.raises(ArtifactError, match=f"has no image {image}, only 0…3; extract again"):
            read(image)


def test_a_store_without_a_shard_or_manifest_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"none/manifest\.json: no such file"):
        open_descriptors(tmp_path / "none")
    folder = store(tmp_path / "store", [draw([1]), draw([2])], 1)
    (folder / "shard-1.h5").unlink()
    with pytest.raises(ArtifactError, match=r"shard-1\.h5: no such file; extract again"):
        open_descriptors(folder)


def test_a_sample_is_drawn_from_all_shards(tmp_path):
    shards = [draw([3, 0, 5], seed=1), draw([0, 0], seed=2), draw([7], seed=3)]
    found = open_descriptors(store(tmp_path, shards, 3))
    everything = np.concatenate([part.descriptors for part in shards])
    np.testing.assert_array_equal(found.sample(99, np.random.default_rng(0)), everything)
    taken = np.array([found.sample(4, np.random.default_rng(seed)) for seed in range(60)])
    rows = (taken[:, :, None] == everything).all(axis=3).argmax(axis=2)
    assert (np.diff(rows, axis=1) > 0).all()
    assert set(rows.ravel()) == set(range(15))
    np.testing.assert_array_equal(taken[0], found.sample(4, np.random.default_rng(0)))


@pytest.mark.parametrize("fact", ["images", "descriptors", "shards", "shard"])
def test_a_manifest_that_does_not_list_its_shards_is_refused(tmp_path, fact):
    stored = read_json(store(tmp_path, [draw([1])], 1) / MANIFEST)
    del stored["facts"][fact]
    write_json(tmp_path / MANIFEST, stored)
    with pytest.raises(ArtifactError, match=r"manifest\.json: does not list its shards; extract again"):
        open_descriptors(tmp_path)


# Regions


def regions() -> Descriptors:
    """Three images: of two regions, of one without rows, and of three of which the last has no rows."""
    region, counts = np.array([0, 0, 1, 0, 1], np.int32), np.array([2, 1, 3], np.int32)
    return replace(draw([3, 0, 2]), region=region, region_counts=counts)


def test_regions_are_stored_and_read(tmp_path):
    write_shard(tmp_path / "a.h5", regions())
    for name in ("region", "region_counts"):
        np.testing.assert_array_equal(getattr(read_shard(tmp_path / "a.h5"), name), getattr(regions(), name))
    alone = read_shard(tmp_path / "a.h5", 2)
    assert (alone.region.tolist(), alone.region_counts.tolist()) == ([0, 1], [3])
    empty = read_shard(tmp_path / "a.h5", 1, without_descriptors=True)
    assert (empty.region.tolist(), empty.region_counts.tolist()) == ([], [1])
    write_shard(tmp_path / "b.h5", draw([3]))
    assert read_shard(tmp_path / "b.h5").region is None is read_shard(tmp_path / "b.h5").region_counts


def test_taken_and_joined_images_keep_their_regions():
    taken = regions().take([2, 0])
    assert (taken.region.tolist(), taken.region_counts.tolist()) == ([0, 1, 0, 0, 1], [3, 2])
    both = join([regions(), taken])
    assert both.region_counts.tolist() == [2, 1, 3, 3, 2] and len(both.region) == 10
    assert join([draw([1]), draw([2])]).region is None


def test_whole_images_are_the_first_regions():
    found = regions().whole_images()
    assert (found.region, found.region_counts) == (None, None)
    assert found.offsets.tolist() == [0, 2, 2, 3]
    np.testing.assert_array_equal(found.descriptors, regions().descriptors[[0, 1, 3]])
    assert_same(draw([3, 0, 2]).whole_images(), draw([3, 0, 2]))


@pytest.mark.parametrize(
    ("region", "counts"),
    [
        *(([0, 0, 2, 0, 1], [2, 1, 3]), ([0, -1, 0, 0, 0], [2, 1, 3]), ([0, 0, 0, 0], [1, 1, 1])),
        *(([0] * 5, [1, 1]), ([0] * 5, None)),
    ],
)
def test_rows_of_regions_that_do_not_exist_are_refused(region, counts):
    changed = {"region": np.array(region, np.int32), "region_counts": counts and np.array(counts, np.int32)}
    with pytest.raises(ArtifactError, match="rows of regions that their image does not have; extract again"):
        replace(draw([3, 0, 2]), **changed)


# Vectors


def with_vectors() -> Descriptors:
    return replace(draw([3, 0, 2]), vectors=np.arange(12, dtype=np.float32).reshape(3, 4))


def test_vectors_are_stored_and_read(tmp_path):
    write_shard(tmp_path / "a.h5", with_vectors())
    np.testing.assert_array_equal(read_shard(tmp_path / "a.h5").vectors, with_vectors().vectors)
    np.testing.assert_array_equal(read_shard(tmp_path / "a.h5", 1).vectors, with_vectors().vectors[1:2])
    write_shard(tmp_path / "b.h5", draw([3]))
    assert read_shard(tmp_path / "b.h5").vectors is None


def test_taken_and_joined_images_keep_their_vectors():
    taken = with_vectors().take([2, 0])
    assert taken.vectors[:, 0].tolist() == [8, 0]
    assert join([with_vectors(), taken]).vectors[:, 0].tolist() == [0, 4, 8, 8, 0]


def test_vectors_as_rows():
    found = with_vectors().as_vectors()
    np.testing.assert_array_equal(found.descriptors, with_vectors().vectors)
    assert found.offsets.tolist() == [0, 1, 2, 3] and found.vectors is None
    assert_same(draw([3, 0, 2]).as_vectors(), draw([3, 0, 2]))


@pytest.mark.parametrize("shape", [(2, 4), (3,)])
def test_vectors_that_are_not_one_an_image_are_refused(shape):
    with pytest.raises(ArtifactError, match=r"descriptors: .* vectors of 3 images; extract again"):
        replace(draw([3, 0, 2]), vectors=np.zeros(shape, np.float32))
