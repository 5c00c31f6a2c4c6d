"""Every parser of a public file, on damaged and hostile files: the result is an error of one line or a valid value."""

import gzip
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lrcr.config.datasets import RevisitedParams
from lrcr.datasets.archives import Member, decompress, list_members
from lrcr.datasets.checksums import Checksums
from lrcr.datasets.fetch import Store
from lrcr.datasets.gldv2 import read_labels, read_solution
from lrcr.datasets.pickles import read_pickle
from lrcr.datasets.remote import Checksum, RetryPolicy
from lrcr.datasets.revisited import make_revisited, read_list, read_revisited
from lrcr.datasets.sfm120k import read_pairs, read_validation
from lrcr.datasets.sources import BENCHMARKS
from lrcr.errors import LrcrError
from lrcr.models.file import read_model_file
from lrcr.models.header import count_parameters
from lrcr.models.how_weights import import_how
from lrcr.storage.artifacts import Manifest

from . import lookalikes
from .server import serve

REVISITED = {
    "gnd": [{"bbx": [1, 2.5, 30, 40], "easy": [0], "hard": [2], "junk": []} for _ in range(2)],
    "imlist": ["a", "b", "c"],
    "qimlist": ["q", "r"],
}
PAIRS = {"cids": ["a0", "b1", "c2"], "cluster": [1, 1, 2], "qidxs": [0, 1], "pidxs": [1, 0]}
VALIDATION = {"cids": ["a0", "b1"], "qidx": np.array([0]), "gnd": [{"ok": np.array([1]), "junk": np.array([0])}]}
VALIDATION_LISTS = {"cids": ["a0", "b1"], "qidx": [0], "gnd": [{"ok": [1], "junk": [0]}]}
CHECKPOINT = {
    "meta": {"architecture": "resnet18", "skip_layer": 3, "dim": 4, "feat_pool_k": 3, "mean": [0.5], "std": [0.2]},
    "state_dict": {"features.0.weight": torch.zeros(64, 3, 7, 7), "whiten.bias": torch.zeros(4)},
}
MODEL = Manifest("model", {"whitening": {"dim": 4}}, {"train": "ab"}, {"epochs": 2})
CHECKSUMS = b'{"a.tar": {"bytes": 12, "sha256": "00ff"}, "b": {"bytes": 3, "sha256": "aa"}}'


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpack(path: Path) -> bytes:
    decompress(path, path.with_name("unpacked"))
    return path.with_name("unpacked").read_bytes()


@dataclass(frozen=True)
class Parser:
    """A function of a file, the contents of a valid file, and the value that it returns for it."""

    read: Callable[[Path], Any]
    valid: bytes
    expected: Any


PARSERS = {
    "pickle": Parser(read_pickle, pickle.dumps([REVISITED, VALIDATION], 4), [REVISITED, VALIDATION_LISTS]),
    "revisited": Parser(lambda path: read_revisited(path).model_dump(), pickle.dumps(REVISITED, 3), REVISITED),
    "pairs": Parser(
        lambda path: read_pairs(path, "train").model_dump(), pickle.dumps({"train": PAIRS, "val": PAIRS}, 2), PAIRS
    ),
    "validation": Parser(
        lambda path: read_validation(path).model_dump(), pickle.dumps(VALIDATION, 4), VALIDATION_LISTS
    ),
    "list": Parser(read_list, "00/a.jpg\n01/é.jpg\n".encode(), ["00/a.jpg", "01/é.jpg"]),
    "labels": Parser(read_labels, b"landmark_id,images\n1,aa bb\n27,cc\n", {"aa": "1", "bb": "1", "cc": "27"}),
    "solution": Parser(
        lambda path: read_solution(path, "public"),
        b"id,images,Usage\nq,aa bb,Public\nr,None,Ignored\n",
        {"q": ["aa", "bb"]},
    ),
    "checksums": Parser(lambda path: Checksums(path).get("a.tar"), CHECKSUMS, Checksum(12, "00ff")),
    "archive": Parser(
        list_members,
        lookalikes.tar({"a/b.jpg": b"12345", "c" * 120: b"6"}, ["a"]),
        [Member("a/b.jpg", 1024, 5), Member("c" * 120, 3072, 1)],
    ),
    "gzip": Parser(unpack, gzip.compress(b"some bytes" * 30), b"some bytes" * 30),
    "model": Parser(
        lambda path: (read_model_file(path)[1], count_parameters(path)),
        save({"whitening.bias": torch.zeros(4)}, {"manifest": json.dumps(MODEL.as_dict())}),
        (MODEL, 4),
    ),
    "checkpoint": Parser(lambda path: import_how(path, path.with_name("model.pt")), saved(CHECKPOINT), None),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


def read_or_refuse(parser: Parser, folder: Path, contents: bytes) -> None:
    """Read contents as a file; the only other file that may appear is a complete product, and none after an error."""
    for file in folder.iterdir():
        file.unlink()
    path = folder / "file.csv"
    path.write_bytes(contents)
    refused = False
    try:
        parser.read(path)
    except LrcrError as error:
        refused = True
        assert "\n" not in str(error), error
    files = {file.name for file in folder.iterdir()}
    assert files == {"file.csv"} if refused else files - {"unpacked", "model.pt"} == {"file.csv"}
    assert path.read_bytes() == contents


@pytest.mark.parametrize("name", [name for name in PARSERS if name != "checkpoint"])
def test_valid_files_are_read(folder, name):
    parser = PARSERS[name]
    path = folder / "file.csv"
    path.write_bytes(parser.valid)
    assert parser.read(path) == parser.expected


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_files(folder, name, data):
    contents = bytearray(PARSERS[name].valid)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(contents) - 1))
        change = data.draw(st.sampled_from(["set", "insert", "cut", "repeat"]))
        if change == "set":
            contents[place] = data.draw(st.integers(0, 255))
        elif change == "insert":
            contents[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        elif change == "cut":
            del contents[place : place + data.draw(st.integers(1, 40))]
        else:
            contents[place:place] = contents[place : place + 30]
        if not contents:
            break
    read_or_refuse(PARSERS[name], folder, bytes(contents))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.binary(max_size=600) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes(folder, name, contents):
    read_or_refuse(PARSERS[name], folder, contents)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["gnd", "imlist", "qimlist", "bbx", "easy", "hard", "junk", "cids", "cluster", "ok", "train"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def graft(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The value with another value in one place."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(list(keys)))
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = graft(value[key], draw)
        return copy
    return draw(VALUES)


@pytest.mark.parametrize(
    ("name", "valid"), [("revisited", REVISITED), ("pairs", {"train": PAIRS}), ("validation", VALIDATION)]
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_intact_pickles_of_wrong_values(folder, name, valid, data):
    value = graft(valid, data.draw)
    read_or_refuse(PARSERS[name], folder, pickle.dumps(value, 4))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_damaged_downloads_leave_no_incomplete_dataset(tmp_path_factory, data):
    base = tmp_path_factory.mktemp("made")
    with serve() as server, pytest.MonkeyPatch.context() as patch:
        intact = lookalikes.revisited(server, "roxford5k")
        own = base / "own"
        own.mkdir()
        patch.setenv("LRCR_STATE", str(base / "state"))
        benchmark = replace(
            intact, annotations={"ground_truth": replace(intact.annotations["ground_truth"], pinned=None)}
        )
        patch.setitem(BENCHMARKS, "roxford5k", benchmark)
        for file in (*intact.archives, *intact.annotations.values()):
            (own / file.name).write_bytes(_fetch(intact, file.name, base))
        damaged = data.draw(st.sampled_from(sorted(own.iterdir())))
        contents = bytearray(damaged.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
        damaged.write_bytes(bytes(contents[: data.draw(st.integers(len(contents) // 2, len(contents)))]))
        store = Store(base / "downloads", Checksums(base / "checksums.json"), own, RetryPolicy(1, 1, 0.01))
        made = base / "dataset"
        made.mkdir()
        try:
            make_revisited(made, "oxford", RevisitedParams(kind="roxford5k"), store)
        except LrcrError as error:
            assert "\n" not in str(error)
            assert list(made.iterdir()) == []
    assert {path.name for path in base.iterdir()} <= {
        "own",
        "state",
        "downloads",
        "checksums.json",
        "dataset",
        "intact",
    }
    assert not list(base.rglob("*.tmp"))


def _fetch(benchmark: Any, name: str, base: Path) -> bytes:
    """The intact file of a look-alike."""
    store = Store(base / "intact", Checksums(base / "intact" / "checksums.json"), None, RetryPolicy(1, 1, 0.01))
    files = {file.name: file for file in (*benchmark.archives, *benchmark.annotations.values())}
    return store.fetch(files[name]).path.read_bytes()
