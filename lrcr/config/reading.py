"""Reading params: recipes, a YAML file, and overrides from the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lrcr.config.messages import explain
from lrcr.config.params import Params
from lrcr.config.recipes import extend, merge, read_recipe
from lrcr.errors import ParamsError


def load_params(path: Path | None = None, overrides: Sequence[str] = (), recipe: str | None = None) -> Params:
    """Read params: the defaults, then a recipe, then a YAML file, then `key=value` overrides (values in YAML).

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    values: dict[str, Any] = {}
    where = "params"
    if recipe is not None:
        values, where = read_recipe(recipe), f"recipe {recipe}"
    if path is not None:
        values, where = merge(values, extend(_read_yaml(path), f"{path}: extends")), str(path)
    for override in overrides:
        _override(values, override)
    return check_params(values, where)


def check_params(values: Any, where: str) -> Params:
    """Validate plain values, read from `where`.

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(explain(where, dict(problem)) for problem in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; name a params file in YAML") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); name a params file in YAML") from None
    except (YAMLError, ValueError) as error:  # ValueError: text, dates and numbers that Python cannot represent
        raise ParamsError(f"{path}: not valid YAML ({' '.join(str(error).split())}); correct it") from None
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
