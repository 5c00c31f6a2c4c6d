"""`lrcr inspect` and `lrcr verify`."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from lrcr.data.dataset import DESCRIPTION
from lrcr.features.store import Descriptors, write_shard
from lrcr.models.factory import open_model
from lrcr.progress import Progress
from lrcr.retrieval.collection import remove_photos
from lrcr.retrieval.layout import MODEL
from lrcr.storage.artifacts import read_json

from .command import NO_INDEX, lrcr, refuse


def inspect(path):
    return json.loads(lrcr("inspect", path))


def test_a_folder_with_a_manifest_is_described_by_it(index, global_index):
    for folder, kind in ((index, "index"), (index / "codebook", "codebook"), (global_index, "index")):
        assert inspect(folder) == read_json(folder / "manifest.json")
        assert inspect(folder)["kind"] == kind


def test_the_images_of_an_index_are_listed(index, photos):
    names = sorted(file.relative_to(photos / "images").as_posix() for file in (photos / "images").rglob("*.png"))
    assert lrcr("inspect", index, "--images").splitlines() == names
    said = refuse("inspect", photos, "--images")
    assert said == f"{photos / 'manifest.json'}: no such file; {NO_INDEX}"


def test_a_dataset_is_described_by_its_description(landmarks):
    assert inspect(landmarks) == read_json(landmarks / DESCRIPTION)
    assert inspect(landmarks)["params"]["name"] == "landmarks"


def test_a_model_is_described_by_its_manifest_and_its_size(model):
    opened, manifest = open_model(model)
    parameters = sum(weights.numel() for weights in opened.parameters())
    assert inspect(model) == {**manifest.as_dict(), "parameters": parameters}
    assert inspect(model)["params"]["train"]["epochs"] == 1


def test_the_name_of_a_model_is_free(model, tmp_path):
    for name in ("a.safetensors", "a.pt"):
        shutil.copy(model, tmp_path / name)
        assert inspect(tmp_path / name) == inspect(model)


def test_a_table_is_described_by_its_columns(index):
    found = inspect(index / "images.parquet")
    table = pd.read_parquet(index / "images.parquet")
    assert (found["kind"], found["rows"], list(found["columns"])) == ("table", 12, list(table.columns))
    assert found["columns"]["image"] == "int64"


def test_a_shard_is_described_by_its_shape(tmp_path):
    one = np.ones(5, np.float32)
    write_shard(
        tmp_path / "a.h5", Descriptors(np.ones((5, 3), np.float32), one, np.ones((5, 2)), one, np.array([0, 2, 5]))
    )
    assert inspect(tmp_path / "a.h5") == {"kind": "shard of descriptors", "images": 2, "descriptors": [5, 3]}


def test_json_is_shown_as_it_is(tmp_path):
    (tmp_path / "metrics.json").write_text('{"map": {"easy": 50.0, "name": "é"}}')
    assert inspect(tmp_path / "metrics.json") == {"map": {"easy": 50.0, "name": "é"}}


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("none.pt", None, "none.pt: no such file or folder; name an artifact"),
        (
            "a.csv",
            b"image,label",
            "a.csv: not an artifact of lrcr; name a folder with a manifest or a file of .safetensors, .pt, .h5",
        ),
        ("a.pt", b"weights", "a.pt: not a model of lrcr"),
        ("a.safetensors", b"weights", "a.safetensors: not a model of lrcr"),
        ("a.parquet", b"PAR1", "a.parquet: not a Parquet table ("),
        ("a.h5", b"HDF", "a.h5: "),
        ("a.json", b"{", "a.json: "),
    ],
)
def test_what_is_no_artifact_is_refused(tmp_path, name, contents, said):
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    assert said in refuse("inspect", tmp_path / name)


def test_a_whole_index_is_verified(index, global_index):
    for folder in (index, global_index):
        assert lrcr("verify", folder) == f"{folder}: 12 images, all files are intact\n"


def test_an_index_that_is_changed_meanwhile_is_verified(index, tmp_path, monkeypatch):
    copy = shutil.copytree(index, tmp_path / "copy.index")

    class Changing(Progress):
        def over(self, items, description, total=None):
            monkeypatch.undo()
            remove_photos(copy, ["0/0.png"])
            return super().over(items, description, total)

    monkeypatch.setattr("lrcr.cli.inspection.progress", Changing())
    assert lrcr("verify", copy) == f"{copy}: 11 images, all files are intact\n"


@pytest.mark.parametrize("name", ["segment-0000/codes.npy", MODEL])
def test_verify_finds_a_flipped_bit(index, tmp_path, name):
    copy = tmp_path / "copy.index"
    shutil.copytree(index, copy)
    file = copy / name
    contents = bytearray(file.read_bytes())
    contents[-3] ^= 4
    file.write_bytes(contents)
    assert f"{name}: missing or altered" in refuse("verify", copy)
