import io
import os
import pickle
import pickletools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.datasets.pickles import read_pickle
from lrcr.errors import DatasetError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=20,
)


def write(folder, contents: bytes):
    path = folder / "truth.pkl"
    path.write_bytes(contents)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pickles")


@settings(deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_read_as_by_pickle(folder, value, protocol):
    if protocol < 3:  # these protocols store bytes as objects
        value = repr(value)
    assert read_pickle(write(folder, pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(7),
        np.zeros((2, 0, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5, dtype=">i2"),
        np.array([True, False]),
        np.array(["a", "bcd", "é"]),
        np.array([b"a", b"bcd"]),
        np.float32(2.5),
        np.int64(-3),
    ],
    ids=repr,
)
def test_arrays_become_lists(tmp_path, array, protocol):
    found = read_pickle(write(tmp_path, pickle.dumps({"a": array, "b": [array]}, protocol)))
    expected = array.tolist() if array.size else []
    assert found == {"a": expected, "b": [expected]}


def test_arrays_of_numpy_1_and_python_2_are_read(tmp_path):
    old = pickle.dumps(np.arange(3, dtype="<i4"), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_pickle(write(tmp_path, old)) == [0, 1, 2]
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    scalar += b"S'\\x05\\x00'\ntR."
    assert read_pickle(write(tmp_path, scalar)) == 5
    assert pickle.loads(scalar, encoding="latin1") == 5


class _Gadget:
    """Its pickle makes the reader call a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class _Stateful:
    def __init__(self) -> None:
        self.value = 1


def _globals(module: str, name: str) -> bytes:
    """A call of `module.name('touch escaped')` in opcodes of protocol 0."""
    return f"c{module}\n{name}\n(S'touch escaped'\ntR.".encode()


HOSTILE = {
    "os.system": (pickle.dumps(_Gadget(os.system, "touch escaped")), "the name 'posix.system'"),
    "subprocess": (pickle.dumps(_Gadget(subprocess.call, ["touch", "escaped"])), "the name 'subprocess.call'"),
    "eval": (pickle.dumps(_Gadget(eval, "open('escaped', 'w')")), "the name 'builtins.eval'"),
    "open": (pickle.dumps(_Gadget(open, "escaped", "w")), "the name 'io.open'"),
    "getattr": (pickle.dumps(_Gadget(getattr, {}, "keys")), "the name 'builtins.getattr'"),
    "class": (pickle.dumps(_Stateful()), f"the name '{__name__}._Stateful'"),
    "class in the oldest protocol": (pickle.dumps(_Stateful(), 0), "the name 'copy_reg._reconstructor'"),
    "numpy load": (b"cnumpy\nload\n(S'escaped'\ntR.", "the name 'numpy.load'"),
    "numpy object array": (
        pickle.dumps(np.array([_Gadget(os.system, "touch escaped")], object)),
        "an array of type 'O8'",
    ),
    "numpy record": (pickle.dumps(np.zeros(2, [("a", "i4")])), "an array of type 'V4'"),
    "set": (pickle.dumps({1, 2}), "the opcode EMPTY_SET"),
    "complex": (pickle.dumps(1j), "the name 'builtins.complex'"),
    "INST": (b"(S'touch escaped'\nios\nsystem\n.", "the opcode INST"),
    "OBJ": (b"(cos\nsystem\nS'touch escaped'\no.", "the name 'os.system'"),
    "NEWOBJ": (b"\x80\x02cos\nsystem\n(S'touch escaped'\nt\x81.", "the name 'os.system'"),
    "STACK_GLOBAL": (b"\x8c\x02os\x8c\x06system\x93(S'touch escaped'\ntR.", "the name 'os.system'"),
    "nested name": (b"\x80\x04\x8c\x08builtins\x8c\x0dstr.__class__\x93.", "the name 'builtins.str.__class__'"),
    "discarded value": (b"0.", "the opcode POP"),
    "extension": (b"\x82\x01.", "the opcode EXT1"),
    "persistent": (b"Pescaped\n.", "the opcode PERSID"),
    "next buffer": (b"\x97.", "the opcode NEXT_BUFFER"),
    "state of a list": (b"(l(dS'a'\nI1\nsb.", "an object with a state"),
    "state of a name": (b"cnumpy\ndtype\n(dS'a'\nI1\nsb.", "an object with a state"),
    "call of a text": (b"S'os.system'\n(S'touch escaped'\ntR.", "a call of 'os.system'"),
    "call of a text like a name": (b"S'numpy dtype'\n(S'i4'\ntR.", "a call of 'numpy dtype'"),
    "codec": (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "the encoding 'rot13'"),
    "getattr builtin": (_globals("builtins", "getattr"), "the name 'builtins.getattr'"),
    "import": (_globals("builtins", "__import__"), "the name 'builtins.__import__'"),
    "posix": (_globals("posix", "system"), "the name 'posix.system'"),
    "nt": (_globals("nt", "system"), "the name 'nt.system'"),
    "runpy": (_globals("runpy", "run_path"), "the name 'runpy.run_path'"),
    "numpy exec": (
        _globals("numpy.testing._private.utils", "runstring"),
        "the name 'numpy.testing._private.utils.runstring'",
    ),
    "pickle": (_globals("pickle", "loads"), "the name 'pickle.loads'"),
    "torch": (_globals("torch", "load"), "the name 'torch.load'"),
    "ctypes": (_globals("ctypes", "CDLL"), "the name 'ctypes.CDLL'"),
    "append to a text": (b"S'a'\nI1\na.", "a list operation on a str"),
    "item of a list": (b"(lI1\nI2\ns.", "a dict operation on a list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_gadget_is_refused_and_not_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    contents, refused = HOSTILE[name]
    path = write(tmp_path, contents)
    with pytest.raises(DatasetError) as error:
        read_pickle(path)
    assert str(error.value) == f"{path}: contains {refused}, which is not allowed in ground truth; download it again"
    assert list(tmp_path.iterdir()) == [path]


def test_pickle_itself_runs_the_gadgets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "eval", "INST", "STACK_GLOBAL"):
        pickle.loads(HOSTILE[name][0])
        assert (tmp_path / "escaped").exists(), name
        (tmp_path / "escaped").unlink()


BOMBS = {
    "endless text": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "expected 9223372036854775807 bytes in a "),
    "negative array": (
        pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
        "4 elements for an array of shape (-1,)",
    ),
    "large array": (
        pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
        "4 elements for an array of shape (2147483647,)",
    ),
    "no mark": (b"t.", "pop from empty list"),
    "nothing": (b"", "pickle exhausted before seeing STOP"),
    "two values": (b"I1\nI2\n.", "too many values to unpack"),
    "uneven pairs": (b"(S'a'\nd.", "zip() argument 2 is shorter than argument 1"),
    "list as key": (b"(d]S'a'\ns.", "unhashable type: 'list'"),
    "page of the web": (b"<html>404</html>", "at position 0, opcode b'<' unknown"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_damaged_pickles_and_bombs_are_refused_in_one_line(tmp_path, name):
    contents, reason = BOMBS[name]
    path = write(tmp_path, contents)
    with pytest.raises(DatasetError) as error:
        read_pickle(path)
    assert str(error.value).startswith(f"{path}: not a pickle of plain values ({reason}")
    assert str(error.value).endswith("); download it again")
    assert "\n" not in str(error.value)


def test_a_large_memo_index_needs_no_memory(tmp_path):
    assert read_pickle(write(tmp_path, b"\x80\x02]r\xff\xff\xff\xff.")) == []


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    path = tmp_path / "truth.pkl"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(
        DatasetError, match=r"truth.pkl: has 314572800 bytes, more than the limit of 268435456; download"
    ):
        read_pickle(path)


@settings(max_examples=300, deadline=None)
@given(PLAIN, st.data())
def test_damaged_pickles_are_refused_or_plain(folder, value, data):
    contents = bytearray(pickle.dumps([value, np.arange(3)], data.draw(st.integers(2, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(write(folder, bytes(contents)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([opcode.code for opcode in pickletools.opcodes]) | st.sampled_from("a\n01")))
def test_any_opcodes_are_refused_or_plain(folder, codes):
    read_or_refuse(write(folder, "".join(codes).encode("latin-1") + b"."))


def read_or_refuse(path) -> None:
    try:
        value = read_pickle(path)
    except DatasetError as error:
        assert "\n" not in str(error)
        return
    assert_plain(value, set())


def assert_plain(value, seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple | dict):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            assert_plain(inner, seen)
    kinds = (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict)
    assert type(value) in kinds or type(value).__module__ == "lrcr.datasets.pickles"


def test_the_public_ground_truth_is_read_as_by_pickle(test_data):
    for name in ("roxford5k", "rparis6k"):
        path = test_data / "ground_truth" / f"gnd_{name}.pkl"
        assert read_pickle(path) == _NamelessUnpickler(io.BytesIO(path.read_bytes())).load()


class _NamelessUnpickler(pickle.Unpickler):
    """Reads a pickle without names."""

    def find_class(self, module, name):
        raise AssertionError(f"{module}.{name}")
