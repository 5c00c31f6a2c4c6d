"""Recipes: settings of publications and of this project, by name.

Each is a YAML file here that says only what differs from the recipe named by its key `extends`, or from the defaults.
"""

from pathlib import Path
from typing import Any

from lrcr.errors import ParamsError

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """The values of a recipe, merged with those of the recipes that it extends.

    Raises:
        ParamsError: there is no such recipe, or it extends itself.
    """
    return extend({"extends": name}, "--recipe")


def extend(values: dict[str, Any], where: str, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge values with the recipe that their key `extends` names, if there is one.

    Args:
        where: the place of the name, for messages.
        path: the recipes that are being extended.

    Raises:
        ParamsError: there is no such recipe, or it extends itself.
    """
    name = values.get("extends")
    own = {key: value for key, value in values.items() if key != "extends"}
    if name is None:
        return own
    if name in path or name not in recipe_names():
        reason = f"{' → '.join([*path, name])} is a cycle" if name in path else f"unknown recipe {name!r}"
        others = ", ".join(other for other in recipe_names() if other not in path)
        raise ParamsError(f"{where}: {reason}; use one of {others}")
    from ruamel.yaml import YAML  # the names alone need none of it

    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    base = YAML(typ="safe", pure=True).load(text) or {}
    return merge(extend(base, f"recipe {name}: extends", (*path, name)), own)


def merge(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Put values in place of those of a base. Sections are merged key by key; lists are replaced."""
    merged = {**base, **values}
    for key in base.keys() & values.keys():
        if isinstance(base[key], dict) and isinstance(values[key], dict):
            merged[key] = merge(base[key], values[key])
    return merged
