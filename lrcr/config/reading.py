"""Reading params: a YAML file, overrides from the command line, and one line for each value that is refused."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lrcr.config.datasets import DATASET_KINDS
from lrcr.config.params import Params
from lrcr.errors import ParamsError


def load_params(path: Path | None = None, overrides: Sequence[str] = ()) -> Params:
    """Read params: the defaults, then a YAML file, then `key=value` overrides (values in YAML).

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    values = {} if path is None else _read_yaml(path)
    for override in overrides:
        _override(values, override)
    return check_params(values, "params" if path is None else str(path))


def check_params(values: Any, where: str) -> Params:
    """Validate plain values, read from `where`.

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(where, dict(problem)) for problem in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; name a params file in YAML") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); name a params file in YAML") from None
    except (YAMLError, ValueError) as error:  # ValueError: text, dates and numbers that Python cannot represent
        raise ParamsError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(values, dict | None):
        raise ParamsError(f"{path}: holds a {type(values).__name__}, not sections of keys; see params.yaml")
    return values or {}


def _override(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ParamsError(f"--set {override}: not key=value; write for example --set smoothing.kernel=5")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        raise ParamsError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    *sections, last = key.split(".")
    for name in sections:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ParamsError(f"--set {override}: {name} is a value, not a section; see params.yaml for the keys")
    values[last] = value


def _explain(where: str, problem: dict[str, Any]) -> str:
    """One line for one problem that pydantic found: file, key, value, remedy."""
    path = [str(part) for part in problem["loc"]]
    known = _known_keys(path if problem["type"] == "model_type" else path[:-1])
    if path[:1] == ["datasets"]:
        del path[2:3]  # pydantic adds the dataset's kind, or [key], after its name
    key = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if not path:
        return f"{where}: {message}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: {key}: unknown key; {remedy}"
    if problem["type"] == "missing":
        return f"{where}: {key}: missing; add it"
    if problem["type"].startswith("union_tag"):
        kinds = ", ".join(DATASET_KINDS)
        return f"{where}: {key}.kind: {problem['input'].get('kind')!r} is no kind of dataset; use {kinds}"
    if problem["type"] == "model_type":
        return f"{where}: {key}: {problem['input']!r} is refused: a section of keys stands here: {', '.join(known)}"
    return f"{where}: {key}: {problem['input']!r} is refused: {message[0].lower()}{message[1:]}"


def _known_keys(path: Sequence[str]) -> list[str]:
    if path[:1] == ["datasets"]:
        return list(DATASET_KINDS[path[2]].model_fields) if len(path) == 3 else []
    model: type[BaseModel] = Params
    for part in path:
        section = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        model = section
    return list(model.model_fields)
