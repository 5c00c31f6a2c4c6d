"""Reads plain values from the pickles of public ground truth, without executing the pickles.

A pickle is a program that can import and call any function. This module interprets its opcodes itself and supports
containers, text, numbers and numpy arrays only; arrays are returned as nested lists. Nothing is imported: the names
with which numpy stores arrays are handled here, and every other name is refused, as is every opcode that creates or
calls another object.
"""

import math
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lrcr.errors import DatasetError

_MAX_BYTES = 256 << 20  # the largest public file has about 20 MB


def read_pickle(path: Path) -> Any:
    """Read containers, text, numbers and numpy arrays of them.

    Raises:
        DatasetError: the file is not a pickle, is damaged, or contains anything else.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DatasetError(f"{path}: has {size} bytes, more than the limit of {_MAX_BYTES}; download it again")
    interpreter = _Interpreter()
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            interpreter.step(opcode.name, argument)
        (value,) = interpreter.stack
    except _RefusedError as error:
        raise DatasetError(
            f"{path}: contains {error}, which is not allowed in ground truth; download it again"
        ) from None
    except Exception as error:  # a damaged pickle can raise any error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(f"{path}: not a pickle of plain values ({reason}); download it again") from None
    return value


class _RefusedError(Exception):
    """The content of a pickle that is refused."""


class _Name(str):
    """The name of a module and of an object in it, as text; never imported."""


class _Dtype:
    """The element type of an array: numpy's code without the byte order, and the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[biufUS][0-9]{1,4}", code)):
            raise _RefusedError(f"an array of type {code!r}")
        self.code, self.order = code, "|"

    def set_state(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">", "=", "|") else "|"

    def read(self, values: Any, shape: Any, order: Any) -> list[Any]:
        """Nested lists of the elements that the bytes `values` encode."""
        raw = values.encode("latin-1") if isinstance(values, str) else bytes(values)
        flat = np.frombuffer(raw, np.dtype(self.order + self.code))
        if math.prod(shape) != len(flat) or any(side < 0 for side in shape):
            raise ValueError(f"{len(flat)} elements for an array of shape {shape!r:.50}")
        return list(flat.reshape(shape, order=order).tolist()) if len(flat) else []


class _Array(list[Any]):
    """An array, which numpy creates empty and fills later with `set_state`."""

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, values = state
        self[:] = dtype.read(values, shape, "F" if fortran else "C")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _RefusedError(f"the encoding {encoding!r}")
    return text.encode("latin-1")


def _start_array(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, values: Any) -> Any:
    return dtype.read(values, (1,), "C")[0]


def _from_buffer(values: Any, dtype: _Dtype, shape: Any, order: Any) -> list[Any]:
    return dtype.read(values, shape, order)


_NUMPY: dict[str, Callable[..., Any]] = {
    "_codecs encode": _encode,
    "__builtin__ bytes": lambda: b"",  # empty bytes in the protocols of Python 2
    "numpy dtype": _Dtype,
    "numpy.core.multiarray _reconstruct": _start_array,
    "numpy._core.multiarray _reconstruct": _start_array,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "numpy.core.numeric _frombuffer": _from_buffer,
    "numpy._core.numeric _frombuffer": _from_buffer,
}
_NAMES = {*_NUMPY, "numpy ndarray"}
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = re.compile(r"(SHORT_)?(BIN)?(INT|LONG|FLOAT|STRING|UNICODE|BYTES|BYTEARRAY)[1248]?")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Interpreter:
    """Runs the allowed opcodes on a stack of plain values."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack below each mark
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Run one opcode; refuse it if it creates anything but plain values."""
        stack = self.stack
        if _LITERALS.fullmatch(opcode):
            stack.append(argument)
        elif opcode in _FIXED:
            stack.append(_FIXED[opcode])
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_allowed_name(argument if argument is not None else f"{stack.pop(-2)} {stack.pop()}"))
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else int(argument)] = stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(argument)])
        elif opcode in ("REDUCE", "BUILD"):
            self._step_numpy(opcode)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            self._step_container(opcode)

    def _step_container(self, opcode: str) -> None:
        """Run an opcode of containers."""
        if opcode == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif opcode == "EMPTY_LIST":
            self.stack.append([])
        elif opcode == "EMPTY_DICT":
            self.stack.append({})
        elif opcode in _CONTAINERS:
            values = self._pop_to_mark()
            self.stack.append(_CONTAINERS[opcode](values))
        elif opcode == "APPEND":
            value = self.stack.pop()
            _require(self.stack[-1], list).append(value)
        elif opcode == "APPENDS":
            values = self._pop_to_mark()
            _require(self.stack[-1], list).extend(values)
        elif opcode == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            _require(self.stack[-1], dict)[key] = value
        elif opcode == "SETITEMS":
            values = self._pop_to_mark()
            _require(self.stack[-1], dict).update(_pairs(values))
        else:
            raise _RefusedError(f"the opcode {opcode}")

    def _step_numpy(self, opcode: str) -> None:
        """Run a call, or the state of an object, of numpy."""
        argument = self.stack.pop()
        if opcode == "REDUCE":
            name = self.stack.pop()
            if not isinstance(name, _Name) or name not in _NUMPY:
                raise _RefusedError(f"a call of {name!r:.100}")
            self.stack.append(_NUMPY[name](*argument))
        elif isinstance(self.stack[-1], _Array | _Dtype):
            self.stack[-1].set_state(argument)
        else:
            raise _RefusedError("an object with a state")

    def _pop_to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values


def _allowed_name(name: str) -> _Name:
    if name not in _NAMES:
        raise _RefusedError(f"the name {name.replace(' ', '.')!r:.100}")
    return _Name(name)


def _require(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise _RefusedError(f"a {kind.__name__} operation on a {type(value).__name__}")
    return value


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {"TUPLE": tuple, "LIST": list, "DICT": _pairs}
