import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrcr.errors import ArtifactError
from lrcr.storage import artifacts
from lrcr.storage.artifacts import (
    MANIFEST,
    SCHEMA,
    Manifest,
    fingerprint,
    hash_file,
    open_manifest,
    read_json,
    require_input,
    require_params,
    staged_file,
    staged_folder,
    write_json,
    write_manifest,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Interrupted(BaseException):
    """As KeyboardInterrupt: no `except Exception` catches it."""


def test_staged_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with staged_file(path) as temporary:
        temporary.write_text("text")
        assert not path.exists()
    assert path.read_text() == "text"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_failure_leaves_the_old_file_untouched(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), staged_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_leftovers_of_a_killed_run_are_replaced(tmp_path):
    with staged_file(tmp_path / "a.txt") as name:
        name.write_text("x")
    name.write_text("half")
    with staged_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    with staged_folder(tmp_path / "b") as folder:
        (folder / "new").touch()
    folder.mkdir()
    (folder / "half").touch()
    with staged_folder(tmp_path / "b") as temporary:
        assert not list(temporary.iterdir())
        (temporary / "newer").touch()
    assert names(tmp_path) == ["a.txt", "b"]
    assert names(tmp_path / "b") == ["newer"]


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_is_replaced_at_once_where_the_system_can(tmp_path, monkeypatch, exchanged):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not artifacts._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot exchange two folders")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["b"], ["a"])
    if exchanged:
        monkeypatch.delattr(Path, "rename")
    else:
        monkeypatch.setattr(artifacts, "_exchange", lambda one, other: False)
    with staged_folder(tmp_path / "a") as temporary:
        (temporary / "new").touch()
    assert names(tmp_path) == ["a", "b"] and names(tmp_path / "a") == ["new"]
    (tmp_path / "link").symlink_to(tmp_path / "b")
    monkeypatch.undo()
    with staged_folder(tmp_path / "link") as temporary:
        (temporary / "new").touch()
    assert (
        names(tmp_path) == ["a", "b", "link"] and names(tmp_path / "link") == ["new"] and names(tmp_path / "b") == ["a"]
    )


def test_staged_folder_replaces_all_of_the_old_one(tmp_path):
    path = tmp_path / "deep" / "out"
    for name in ("first", "second"):
        with staged_folder(path) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / name).write_text(name)
    assert [file.name for file in path.rglob("*")] == ["sub", "second"]
    assert names(path.parent) == ["out"]


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_failure_leaves_the_old_folder_untouched(tmp_path, error):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(error), staged_folder(path) as temporary:
        (temporary / "half").touch()
        raise error
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


def test_what_is_not_replaceable_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ArtifactError, match="file: is a file, not a folder; name another folder"):
        staged_folder(tmp_path / "file").__enter__()
    for folder in (tmp_path, Path(), Path("/")):
        with pytest.raises(ArtifactError, match="is a folder, not a file; name another file"):
            staged_file(folder).__enter__()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("stage", [staged_file, staged_folder])
@pytest.mark.parametrize("name", ["file/out", "file/folder/out", 300 * "x"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, stage, name):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ArtifactError, match=r"cannot be written into .* \(.+\); name another folder"):
        stage(tmp_path / name).__enter__()
    assert names(tmp_path) == ["file"]


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ä": [1, 2.5, None]})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"map": float("nan")})
    assert read_json(path) == {"ä": [1, 2.5, None]}


def test_unreadable_json_is_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ArtifactError, match=r"a\.json: no such file; run the stage that makes it"):
        read_json(path)
    for damaged in (b"{", b"", b"\xff\xfe", b"[" * 100_000, b"9" * 5000):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"a\.json: not valid JSON .*; make it again"):
            read_json(path)
    for wrong in (tmp_path, path / "manifest.json"):
        with pytest.raises(ArtifactError, match=rf"{wrong}: cannot be read .*; name another folder"):
            read_json(wrong)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, PLAIN)
def test_fingerprints_are_equal_exactly_for_equal_contents(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same
    assert fingerprint(json.loads(json.dumps(a))) == fingerprint(a)


def test_fingerprint_is_the_start_of_sha256_of_sorted_json():
    value = {"b": [1, 2.5, None, True], "a": "ü"}
    text = rb'["kind",{"a":"\u00fc","b":[1,2.5,null,true]}]'
    assert fingerprint("kind", value) == hashlib.sha256(text).hexdigest()[:32]
    assert fingerprint("kind", dict(reversed(value.items()))) == fingerprint("kind", value)


def test_fingerprint_tells_parts_apart():
    parts = [
        ("ab",),
        ("a", "b"),
        ("a b",),
        (["a", "b"],),
        (1,),
        ("1",),
        (1.5,),
        (None,),
        (),
        ({},),
        ([],),
        (0,),
        (False,),
    ]
    assert len({fingerprint(*part) for part in parts}) == len(parts)


def test_hash_file_is_sha256_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


PARAMS = {"extract": {"scales": [1.0, 2.0], "size": 8}, "seed": 0}


@pytest.fixture
def manifest() -> Manifest:
    return Manifest("descriptors", PARAMS, {"model": "abc"}, {"images": 3})


def test_manifest_round_trip(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    assert open_manifest(tmp_path, "descriptors") == manifest
    assert read_json(tmp_path / MANIFEST)["fingerprint"] == manifest.fingerprint


def test_fingerprint_of_a_manifest_counts_all_but_facts(manifest):
    others = [
        Manifest("index", PARAMS, {"model": "abc"}),
        Manifest("descriptors", {**PARAMS, "seed": 1}, {"model": "abc"}),
        Manifest("descriptors", PARAMS, {"model": "abd"}),
        Manifest("descriptors", PARAMS, {"model": "abc"}, schema=SCHEMA + 1),
    ]
    assert len({manifest.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert Manifest("descriptors", PARAMS, {"model": "abc"}, {"images": 4}).fingerprint == manifest.fingerprint


def test_missing_manifest_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"none/manifest\.json: no such file"):
        open_manifest(tmp_path / "none", "descriptors")


@pytest.mark.parametrize("key", ["kind", "schema", "fingerprint", "params", "inputs", "facts"])
def test_incomplete_manifest_is_refused(tmp_path, manifest, key):
    stored = manifest.as_dict()
    del stored[key]
    write_json(tmp_path / MANIFEST, stored)
    with pytest.raises(ArtifactError, match=r"manifest\.json: not a manifest of lrcr; make the artifact again"):
        open_manifest(tmp_path, "descriptors")


@pytest.mark.parametrize("stored", [[], "text", 3, None, {}])
def test_json_of_another_shape_is_no_manifest(tmp_path, stored):
    write_json(tmp_path / MANIFEST, stored)
    with pytest.raises(ArtifactError, match="not a manifest of lrcr"):
        open_manifest(tmp_path, "descriptors")


def test_manifest_of_another_kind_or_schema_is_refused(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    message = f"holds a descriptors of schema {SCHEMA}, not a index of schema {SCHEMA}; make it again"
    with pytest.raises(ArtifactError, match=message):
        open_manifest(tmp_path, "index")
    write_manifest(tmp_path, Manifest("descriptors", PARAMS, {}, {}, schema=SCHEMA + 1))
    with pytest.raises(ArtifactError, match=f"of schema {SCHEMA + 1}, not a descriptors of schema {SCHEMA}"):
        open_manifest(tmp_path, "descriptors")


def test_altered_manifest_is_refused(tmp_path, manifest):
    write_json(tmp_path / MANIFEST, {**manifest.as_dict(), "inputs": {"model": "another"}})
    with pytest.raises(ArtifactError, match="its fingerprint does not fit its contents; make the artifact again"):
        open_manifest(tmp_path, "descriptors")


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ({"extract": {"scales": [1.0], "size": 8}}, r"extract.scales = [1.0, 2.0], but the params now say [1.0]"),
        ({"extract": {"scales": [1.0, 2.0], "size": 9}}, "extract.size = 8, but the params now say 9"),
        ({"extract": {"scales": [1.0, 2.0]}}, "extract.size = 8, but the params now say None"),
        ({"extract": {"scales": [1.0, 2.0], "size": 8, "new": 1}}, "extract.new = None, but the params now say 1"),
        ({"seed": 1}, "seed = 0, but the params now say 1"),
    ],
)
def test_other_params_are_refused_by_key(manifest, present, said):
    with pytest.raises(ArtifactError) as error:
        require_params(manifest, present, Path("data/descriptors"))
    assert str(error.value) == f"data/descriptors: made with {said}; run its stage again"


def test_equal_params_are_accepted(manifest):
    require_params(manifest, {"extract": {"size": 8, "scales": [1, 2]}, "seed": 0}, Path("x"))
    require_params(manifest, {"extract": PARAMS["extract"]}, Path("x"))


def test_other_inputs_are_refused(manifest):
    require_input(manifest, "model", "abc", Path("x"))
    for name, expected in (("model", "abd"), ("dataset", "abc")):
        with pytest.raises(ArtifactError, match=f"x: made from another {name} than the present one; run its stage"):
            require_input(manifest, name, expected, Path("x"))
