"""`lrcr export`: of an index, of an extracted database, of a model."""

import json

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from lrcr.storage.artifacts import Manifest, write_manifest

from .command import lrcr, refuse


@pytest.mark.parametrize("suffix", ["npz", "parquet", "h5"])
def test_vectors_are_written_by_the_suffix(global_index, tmp_path, suffix):
    file = tmp_path / f"vectors.{suffix}"
    assert lrcr("export", global_index, "-o", file) == ""
    if suffix == "npz":
        shape = np.load(file)["vector"].shape
    elif suffix == "parquet":
        shape = np.array(pq.read_table(file)["vector"].to_pylist()).shape
    else:
        with h5py.File(file) as opened:
            shape = (sum(map(len, opened.values())), *opened["0/0.png/global_descriptor"].shape)
        assert json.loads(lrcr("inspect", file))["vectors"] == [12, 16]
    assert shape == (12, 16)


def write_manifest_of(folder, kind: str):
    folder.mkdir()
    write_manifest(folder, Manifest(kind, {}, {}))
    return folder


def test_what_cannot_be_exported_is_refused(global_index, index, model, tmp_path):
    store = write_manifest_of(tmp_path / "store", "descriptors")
    file = tmp_path / "a.h5"
    assert refuse("export", store, "-o", file) == f"{store}: names no images; give the dataset with --dataset"
    assert refuse("export", tmp_path, "-o", file).startswith(f"{tmp_path}: neither an index nor extracted descriptors;")
    (tmp_path / "store/manifest.json").write_text("[]")
    assert refuse("export", store, "-o", file).startswith(f"{store}: neither an index nor extracted descriptors;")
    assert refuse("export", index, "-o", file).startswith(f"{index}: holds no descriptors, only their visual words;")
    said = refuse("export", global_index, "-o", tmp_path / "a.txt")
    assert said.endswith("features are written as .parquet, .npz, .h5, models as .onnx; choose one of these")
    said = refuse("export", index, "-o", tmp_path / "a.onnx")
    assert said == f"{index}: of kind index, not a model; name a model file, or write .parquet, .npz, .h5"
    said = refuse("export", global_index, "-o", file, "--dataset", store)
    assert said == f"--dataset {store}: has an effect on extracted descriptors only; leave it out"
    said = refuse("export", model, "-o", tmp_path / "a.onnx")
    assert said == f"{model}: a model of kind local has local descriptors; name one of global vectors"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
