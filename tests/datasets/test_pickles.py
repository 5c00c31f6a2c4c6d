import io
import os
import pickle
import pickletools
import subprocess

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
def test_plain_values_come_out_as_pickle_itself_reads_them(folder, value, protocol):
    if protocol < 3:  # bytes are objects there
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
def test_arrays_come_out_as_lists(tmp_path, array, protocol):
    found = read_pickle(write(tmp_path, pickle.dumps({"a": array, "b": [array]}, protocol)))
    expected = array.tolist() if array.size else []
    assert found == {"a": expected, "b": [expected]}


def test_arrays_of_numpy_1_and_python_2_are_understood(tmp_path):
    old = pickle.dumps(np.arange(3, dtype="<i4"), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_pickle(write(tmp_path, old)) == [0, 1, 2]
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    scalar += b"S'\\x05\\x00'\ntR."
    assert read_pickle(write(tmp_path, scalar)) == 5
    assert pickle.loads(scalar, encoding="latin1") == 5


class _Gadget:
    """Pickled, it asks the reader to call something."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class _Stateful:
    def __init__(self) -> None:
        self.value = 1


def _globals(module: str, name: str) -> bytes:
    """A call of `module.name('touch …')` in the oldest opcodes."""
    return f"c{module}\n{name}\n(S'touch escaped'\ntR.".encode()


HOSTILE = {
    "os.system": pickle.dumps(_Gadget(os.system, "touch escaped")),
    "subprocess": pickle.dumps(_Gadget(subprocess.call, ["touch", "escaped"])),
    "eval": pickle.dumps(_Gadget(eval, "open('escaped', 'w')")),
    "open": pickle.dumps(_Gadget(open, "escaped", "w")),
    "getattr": pickle.dumps(_Gadget(getattr, {}, "keys")),
    "class": pickle.dumps(_Stateful()),
    "class in the oldest protocol": pickle.dumps(_Stateful(), 0),
    "numpy load": b"cnumpy\nload\n(S'escaped'\ntR.",
    "numpy object array": pickle.dumps(np.array([_Gadget(os.system, "touch escaped")], object)),
    "numpy record": pickle.dumps(np.zeros(2, [("a", "i4")])),
    "set": pickle.dumps({1, 2}),
    "complex": pickle.dumps(1j),
    "INST": b"(S'touch escaped'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch escaped'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n(S'touch escaped'\nt\x81.",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93(S'touch escaped'\ntR.",
    "nested name": b"\x80\x04\x8c\x08builtins\x8c\x0dstr.__class__\x93.",
    "extension": b"\x82\x01.",
    "persistent": b"Pescaped\n.",
    "next buffer": b"\x97.",
    "state of a list": b"(l(dS'a'\nI1\nsb.",
    "state of a name": b"cnumpy\ndtype\n(dS'a'\nI1\nsb.",
    "call of a text": b"S'os.system'\n(S'touch escaped'\ntR.",
    "call of a text like a name": b"S'numpy dtype'\n(S'i4'\ntR.",
    "codec": b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
    "getattr builtin": _globals("builtins", "getattr"),
    "import": _globals("builtins", "__import__"),
    "posix": _globals("posix", "system"),
    "nt": _globals("nt", "system"),
    "runpy": _globals("runpy", "run_path"),
    "numpy exec": _globals("numpy.testing._private.utils", "runstring"),
    "pickle": _globals("pickle", "loads"),
    "torch": _globals("torch", "load"),
    "ctypes": _globals("ctypes", "CDLL"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_gadget_is_refused_without_being_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, HOSTILE[name])
    with pytest.raises(DatasetError) as error:
        read_pickle(path)
    assert str(error.value).startswith(f"{path}: asks for ")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_the_gadgets_would_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "eval", "INST", "STACK_GLOBAL"):
        pickle.loads(HOSTILE[name])
        assert (tmp_path / "escaped").exists(), name
        (tmp_path / "escaped").unlink()


BOMBS = {
    "memo far away": b"\x80\x02]r\xff\xff\xff\xff.",
    "endless text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "negative array": pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
    "large array": pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
    "no mark": b"t.",
    "empty stack": b"0.",
    "nothing": b"",
    "two values": b"I1\nI2\n.",
    "uneven pairs": b"(S'a'\nd.",
    "list as key": b"(d]S'a'\ns.",
    "page of the web": b"<html>404</html>",
}


@pytest.mark.parametrize("name", set(BOMBS) - {"memo far away"})
def test_damage_and_bombs_are_one_line(tmp_path, name):
    with pytest.raises(DatasetError) as error:
        read_pickle(write(tmp_path, BOMBS[name]))
    assert "\n" not in str(error.value)


def test_a_far_place_in_the_memo_costs_nothing(tmp_path):
    assert read_pickle(write(tmp_path, BOMBS["memo far away"])) == []


def test_a_huge_file_is_not_even_read(tmp_path):
    path = tmp_path / "truth.pkl"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(DatasetError, match="more than the"):
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
    repr(value)
    assert type(value) in (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict) or type(
        value
    ).__module__.startswith("lrcr")


def test_the_public_ground_truth_is_read_as_pickle_reads_it(test_data):
    for name in ("roxford5k", "rparis6k"):
        path = test_data / "ground_truth" / f"gnd_{name}.pkl"
        assert read_pickle(path) == _NothingNamed(io.BytesIO(path.read_bytes())).load()


class _NothingNamed(pickle.Unpickler):
    """Enough for a pickle without names."""

    def find_class(self, module, name):
        raise AssertionError(f"{module}.{name}")
