import hashlib

import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.progress import Progress
from lrcr.storage.arrays import hash_files, open_array, verify_arrays, write_arrays

ARRAYS = {"ids": np.arange(6, dtype=np.uint32), "codes": np.arange(6, dtype=np.float32).reshape(3, 2)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index" / "arrays"


@pytest.fixture
def files(folder):
    return write_arrays(folder, ARRAYS)


def test_arrays_come_back_mapped_and_read_only(folder, files):
    ids = open_array(folder, "ids", files, np.uint32, (6,))
    codes = open_array(folder, "codes", files, np.float32, (3, 2))
    np.testing.assert_array_equal(ids, ARRAYS["ids"])
    np.testing.assert_array_equal(codes, ARRAYS["codes"])
    assert isinstance(codes.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_sizes_and_hashes_are_those_of_the_files(folder, files):
    assert sorted(files) == ["codes.npy", "ids.npy"]
    for name, stored in files.items():
        contents = (folder / name).read_bytes()
        assert stored == {"bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
    assert hash_files(folder) == files


def test_a_folder_appears_whole_or_not_at_all(folder):
    class Unwritable:
        def __array__(self, *_, **__):
            raise RuntimeError("no array")

    with pytest.raises(RuntimeError, match="no array"):
        write_arrays(folder, {**ARRAYS, "zeros": Unwritable()})
    assert not list(folder.parent.iterdir())


def test_without_a_shape_an_array_has_one_dimension_and_is_not_empty(tmp_path):
    files = write_arrays(tmp_path / "a", {**ARRAYS, "none": np.empty(0, np.uint32)})
    assert open_array(tmp_path / "a", "ids", files, np.uint32, None).shape == (6,)
    with pytest.raises(ArtifactError, match=r"codes\.npy: float32 of shape \(3, 2\), not float32 of shape \(6,\)"):
        open_array(tmp_path / "a", "codes", files, np.float32, None)
    with pytest.raises(ArtifactError, match=r"none\.npy: uint32 of shape \(0,\), not uint32 of shape \(1,\); build"):
        open_array(tmp_path / "a", "none", files, np.uint32, None)


@pytest.mark.parametrize(
    ("dtype", "shape", "said"),
    [
        (np.int32, (6,), r"uint32 of shape \(6,\), not int32 of shape \(6,\)"),
        (np.uint32, (2, 3), r"uint32 of shape \(6,\), not uint32 of shape \(2, 3\)"),
    ],
)
def test_another_type_or_shape_is_refused(folder, files, dtype, shape, said):
    with pytest.raises(ArtifactError, match=rf"ids\.npy: {said}; build the index again"):
        open_array(folder, "ids", files, dtype, shape)


def test_damage_is_named(folder, files):
    path = folder / "ids.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match=rf"ids\.npy: {len(whole) - 1} bytes, not {len(whole)} bytes; build"):
        open_array(folder, "ids", files, np.uint32, (6,))
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(ArtifactError, match=r"ids\.npy: not a readable array \(.*\); build the index again"):
        open_array(folder, "ids", files, np.uint32, (6,))
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"ids\.npy: missing, not {len(whole)} bytes; build"):
        open_array(folder, "ids", files, np.uint32, (6,))


class Counter(Progress):
    def __init__(self):
        self.tasks, self.steps = [], 0

    def task(self, description, total):
        self.tasks.append((description, total))
        return super().task(description, total)

    def advance(self, steps=1):
        self.steps += steps


def test_every_file_is_verified_against_its_hash(folder, files):
    entries, progress = [{"folder": folder.name, "files": files}], Counter()
    verify_arrays(folder.parent, entries, progress)
    assert (progress.tasks, progress.steps) == ([("verify", 2)], 2)
    for name in files:
        contents = (folder / name).read_bytes()
        (folder / name).write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=rf"arrays/{name}: missing or altered since it was made; build"):
            verify_arrays(folder.parent, entries)
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=rf"arrays/{name}: missing or altered"):
            verify_arrays(folder.parent, entries)
        (folder / name).write_bytes(contents)
    verify_arrays(folder.parent, entries)
