"""Writing params: a complete params.yaml, in which every key has its value and a comment."""

import json
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from lrcr.config.base import Section
from lrcr.config.reading import load_params

_COLUMN, _WIDTH = 32, 120  # where comments start and where lines end
_PLAIN = re.compile(r"(?!(?i:null|true|false|yes|no|on|off|y|n)$)[A-Za-z][\w./-]*", re.ASCII)  # text without quotes
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {"string": "text", "boolean": "true | false", "object": "datasets by name"}


def write_params(recipe: str | None = None) -> str:
    """The text of a complete params.yaml with the params of a recipe, or with the defaults.

    Raises:
        ParamsError: there is no such recipe.
    """
    title = "the defaults" if recipe is None else f"recipe {recipe}"
    head = f"# The params of the pipeline: {title}.\n# One change, one experiment:  dvc exp run -S smoothing.kernel=5\n"
    return "\n".join([head, *_lines(load_params(recipe=recipe))]) + "\n"


def _lines(section: Section, indent: str = "") -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        value, comment = getattr(section, key), str(field.description)
        if isinstance(value, Section | dict) and not indent:
            yield ""
        if isinstance(value, Section):
            yield from _commented(f"{indent}{key}:", comment)
            yield from _lines(value, indent + "  ")
        elif isinstance(value, dict) and value:
            yield from _commented(f"{indent}{key}:", comment)
            yield from (f"{indent}  {name}: {to_yaml(item.model_dump(mode='json'))}" for name, item in value.items())
        else:
            values = values_of(type(section), key)
            choice = " | " in values and not values.startswith(("integer", "number", "list", "text", "true"))
            yield from _commented(f"{indent}{key}: {to_yaml(value)}", f"{values}; {comment}" if choice else comment)


def _commented(text: str, comment: str) -> Iterator[str]:
    """A line with its comment, which goes on in further lines."""
    start = max(_COLUMN, len(text) + 2)
    first, *rest = textwrap.wrap(comment, max(40, _WIDTH - start - 2), break_on_hyphens=False)
    yield f"{text:{start}}# {first}"
    yield from (f"{'':{start}}# {line}" for line in rest)


def to_yaml(value: Any) -> str:
    """A plain value on one line of YAML 1.2, which readers of YAML 1.1 understand too."""
    match value:
        case dict():
            return f"{{{', '.join(f'{key}: {to_yaml(item)}' for key, item in value.items())}}}"
        case Section():
            return to_yaml(value.model_dump(mode="json"))
        case list():
            return f"[{', '.join(map(to_yaml, value))}]"
        case float():
            mantissa, _, exponent = repr(value).partition("e")
            mantissa += "" if "." in mantissa else ".0"
            return f"{mantissa}e{int(exponent):+}" if exponent else mantissa
        case str() if _PLAIN.fullmatch(value):
            return value
    return json.dumps(value, ensure_ascii=False)


def values_of(section: type[Section], key: str) -> str:
    """The values that a key can have, for example `integer ≥ 1` or `norm | share`."""
    return _describe(_schema(section)["properties"][key])


@cache
def _schema(section: type[Section]) -> dict[str, Any]:
    return section.model_json_schema()


def _describe(schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows."""
    match schema:
        case {"discriminator": {"propertyName": key}}:
            return f"sections with a {key}"
        case {"anyOf": choices}:
            return " | ".join(map(_describe, choices))
        case {"enum": choices}:
            return " | ".join(choices)
        case {"const": constant}:
            return str(constant)
        case {"type": "array", "items": items}:
            return f"list of {_describe(items).replace('number', 'numbers')}"
    limits = [f"{sign} {schema[limit]:g}" for limit, sign in _LIMITS.items() if limit in schema]
    return f"{_TYPES.get(schema['type'], schema['type'])} {', '.join(limits)}".strip()
