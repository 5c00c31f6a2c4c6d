"""The reference of all params, made from their classes: `python -m lrcr.config.reference > docs/params.md`."""

import inspect
import sys
from collections.abc import Iterator

from lrcr.config.base import Section, subsections
from lrcr.config.datasets import DATASET_KINDS
from lrcr.config.params import Params
from lrcr.config.rerank import RERANK_KINDS
from lrcr.config.writing import to_yaml, values_of

_HEAD = """# Params

All keys of `params.yaml`. A key that is left out has its default; a key without a default must be given.
This page is made from the code: `python -m lrcr.config.reference > docs/params.md`.
"""


def write_reference() -> str:
    """The text of docs/params.md: one table for each section."""
    kinds = dict.fromkeys(DATASET_KINDS.values())
    datasets = [_table(section, f"`datasets.NAME`, kind {values_of(section, 'kind')}") for section in kinds]
    steps = [_table(section, f"`rerank`, kind {kind}") for kind, section in RERANK_KINDS.items()]
    return "\n".join([_HEAD, *_tables(Params, ""), *steps, *datasets])


def _tables(section: type[Section], path: str) -> Iterator[str]:
    """The table of a section, then those of the sections in it."""
    yield _table(section, f"`{path}`" if path else "Outside of sections")
    for key, inner in subsections(section).items():
        yield from _tables(inner, f"{path}.{key}" if path else key)


def _table(section: type[Section], title: str) -> str:
    rows = [("key", "values", "default", "meaning"), ("---",) * 4]
    for key, field in section.model_fields.items():
        if key not in subsections(section):
            values = values_of(section, key).replace("|", r"\|")
            default = "" if field.is_required() else f"`{to_yaml(field.default)}`"
            rows.append((f"`{key}`", values, default, str(field.description)))
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"## {title}", "", inspect.cleandoc(section.__doc__ or ""), "", *table, ""])


if __name__ == "__main__":
    sys.stdout.write(write_reference())
