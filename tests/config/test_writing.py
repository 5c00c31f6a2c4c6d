"""A written params.yaml, the committed one, and the reference: each agrees with the schema."""

import re
import string
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lrcr.config.base import Section, subsections
from lrcr.config.datasets import DATASET_KINDS
from lrcr.config.messages import RENAMED
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.recipes import recipe_names
from lrcr.config.reference import write_reference
from lrcr.config.rerank import RERANK_KINDS
from lrcr.config.writing import to_yaml, values_of, write_params
from lrcr.errors import ParamsError

ROOT = Path(__file__).parents[2]


def schema_keys(section: type[Section] = Params, path: str = "") -> dict[str, object]:
    """The default of every key of the schema that is no section, under its dotted name."""
    inner = subsections(section)
    found = {f"{path}{key}": field.default for key, field in section.model_fields.items() if key not in inner}
    for key, below in inner.items():
        found.update(schema_keys(below, f"{path}{key}."))
    return found


def lines_of(text: str) -> dict[str, tuple[object, str]]:
    """Every key of a params file that is no section, outside of `datasets`: its value, and its line."""
    lines = text.splitlines()

    def walk(values, path=""):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{path}{key}.")
            else:
                yield f"{path}{key}", (value, lines[values.lc.key(key)[0]])

    values = YAML(typ="rt").load(text)
    del values["datasets"]
    return dict(walk(values))


def plain(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


# Written params


@pytest.mark.parametrize("recipe", [None, *recipe_names()])
def test_written_params_are_those_of_the_recipe(tmp_path, recipe):
    path = tmp_path / "params.yaml"
    path.write_text(write_params(recipe), encoding="utf-8")
    assert load_params(path) == load_params(recipe=recipe)


def test_written_params_hold_every_key_with_its_meaning_in_order():
    text = write_params("how-r18")
    found = lines_of(text)
    assert set(found) == set(schema_keys()) - {"datasets"}
    assert [line.rstrip(":") for line in re.findall(r"^\w+:", text, re.MULTILINE)] == list(Params.model_fields)
    assert all(len(line) <= 120 for line in text.splitlines())
    words = " ".join(line.partition("# ")[2] for line in text.splitlines())
    for section in (Params, *inner_sections(Params)):
        for field in section.model_fields.values():
            assert field.description in words
    line = next(line for line in text.splitlines() if line.startswith("  attention: "))
    assert line.startswith("  attention: norm               # norm | share; norm: attention as in HOW; ")


def test_written_params_of_an_unknown_recipe_are_refused():
    with pytest.raises(ParamsError, match="unknown recipe 'x'"):
        write_params("x")


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(string.ascii_letters + string.digits + string.punctuation + " äé→") | st.sampled_from(
    ["null", "True", "no", "on", "~", "1e5", "0x1", "1.0", "", "a: b", "a #b", "- a", "imagenet", "/home/me/a b"]
)


@given(
    st.recursive(PLAIN | TEXT, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["kind", "a_b"]), inner))
)
def test_plain_values_are_the_same_when_they_are_read_again(value):
    text = to_yaml(value)
    assert "\n" not in text
    read = plain(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((5e-6, "5.0e-6"), (1.5e22, "1.5e+22"), (0.0, "0.0"), (None, "null"), (True, "true"), ("a.pth", "a.pth")),
        *(([1.0, None], "[1.0, null]"), ({"a": "none", "b": "no"}, '{a: none, b: "no"}')),
    ],
)
def test_plain_values_are_written_as_one_would(value, text):
    assert to_yaml(value) == text


# The committed params.yaml


@cache
def committed() -> dict[str, tuple[object, str]]:
    return lines_of((ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_the_committed_params_name_every_key():
    """So that any of them can be overridden by `dvc exp run -S`."""
    assert set(committed()) == set(schema_keys()) - {"datasets"}


@pytest.mark.parametrize("key", [key for key in schema_keys() if key != "datasets"])
def test_brackets_hold_the_default(key):
    """`[3]` at the end of a comment is the default; a list stands in its own brackets."""
    value, line = committed()[key]
    default = schema_keys()[key]
    bracket = re.search(r"(\[[^\[\]]*\])$", line.partition("#")[2])
    if bracket is None:
        assert value == default, f"params.yaml: {key}: end the line with the default in brackets: {default}"
        assert not {"[", "]"} & set(line.partition("#")[2])
    else:
        assert plain(bracket[1]) == (default if isinstance(default, list) else [default]), line


def test_the_committed_params_are_those_of_the_embedded_run():
    params = load_params(ROOT / "params.yaml")
    assert params.method == "tuples" and params.train.method is None
    assert (params.train.epochs, params.train.tuples.queries_per_epoch, params.train.tuples.batch_size) == (4, 800, 16)
    assert (params.backbone, params.whitening.dim) == (Params().backbone, Params().whitening.dim)
    assert (params.smoothing.kind, params.graph.kind) == ("learnable", "gcn"), "LRCR"
    assert (params.train.freeze, params.train.tuples.losses.asmk) == ("backbone", 1.0)
    for method in (params.train.listwise, params.train.classification):
        assert (method.epochs, method.crop_size, method.min_crop_area) == (30, 160, 0.3)
    assert params.train.listwise.learning_rates.model_dump() == {"backbone": 1e-4, "context": 1e-3, "whitening": 0.0}
    validation = params.train.validation
    assert (params.validation, validation.by, validation.every) == ("asmk", None, 1)
    assert validation.extract.model_dump() == params.extract.model_dump(
        include=set(type(validation.extract).model_fields)
    )
    for key in ("words", "max_descriptors", "iterations", "seed"):
        assert getattr(validation.codebook, key) == getattr(params.codebook, key)
    assert validation.codebook.images == params.whitening.images == 150, "fewer: words are learned in every epoch"
    for key in type(validation.search).model_fields:
        assert getattr(validation.search, key) == getattr(params.search, key)


# The reference


def inner_sections(section: type[Section]) -> list[type[Section]]:
    found = []
    for below in subsections(section).values():
        found += [below, *inner_sections(below)]
    return found


def test_the_committed_reference_is_generated():
    committed = (ROOT / "docs" / "params.md").read_text(encoding="utf-8")
    assert committed == write_reference(), "run: python -m lrcr.config.reference > docs/params.md"


def test_the_reference_has_one_row_for_each_key():
    tables = re.split(r"^## ", write_reference(), flags=re.MULTILINE)[1:]
    found = {}
    for table in tables:
        title, *lines = table.splitlines()
        rows = [re.split(r" (?<!\\)\| ", f"{line} ".removeprefix("| ")) for line in lines if line.startswith("| `")]
        assert all(len(row) == 5 for row in rows)
        found[title] = {row[0].strip("`"): row[1:4] for row in rows}
    keys = {f"{title.strip('`')}.{key}" for title, rows in found.items() for key in rows if title.startswith("`")}
    keys = {key.removeprefix("Outside of sections.") for key in keys} | set(found["Outside of sections"])
    assert {key for key in keys if not key.startswith(("datasets.", "rerank`"))} == set(schema_keys())
    assert found["`train.tuples`"]["margin"][:2] == ["number > 0", "`0.8`"]
    assert found["`smoothing`"]["attention"][:2] == [r"norm \| share", "`norm`"]
    assert found["`extract`"]["scales"][0] == r"list of numbers > 0 \| null"
    assert found["`rerank`, kind superglobal"]["top"][:2] == ["integer ≥ 1", "`400`"]
    assert found["`datasets.NAME`, kind synthetic"]["landmarks"][:2] == ["integer ≥ 1", ""]


@pytest.mark.parametrize(
    "section",
    [Params, *inner_sections(Params), *DATASET_KINDS.values(), *RERANK_KINDS.values()],
    ids=lambda section: section.__name__,
)
def test_every_key_is_described(section):
    assert section.__doc__ != Section.__doc__
    for key, field in section.model_fields.items():
        assert field.description, key
        assert "|" not in field.description and "\n" not in field.description, key


@pytest.mark.parametrize(
    ("section", "key", "values"),
    [
        ("train.tuples", "lr_decay", "number > 0, ≤ 1"),
        ("train.tuples", "scales", "list of numbers > 0"),
        ("train", "method", "tuples | listwise | classification | null"),
        ("data", "eval", "list of text"),
        ("search", "idf", "true | false"),
        ("search", "top", "integer ≥ 1 | null"),
        ("", "rerank", "list of sections with a kind"),
    ],
)
def test_the_values_of_a_key_in_words(section, key, values):
    found = Params
    for part in filter(None, section.split(".")):
        found = subsections(found)[part]
    assert values_of(found, key) == values


# Renamed keys


def test_renamed_keys_are_told_with_their_new_name():
    known = {*schema_keys(), *(key.rpartition(".")[0] for key in schema_keys())}
    for old, new in RENAMED.items():
        assert old not in known, old
        assert all(key in known for key in new.split(" and ")), new
        with pytest.raises(ParamsError) as error:
            load_params(overrides=[f"{old}=1"])
        assert str(error.value) == f"params: {old}: unknown key; it is now {new}"


def test_a_key_below_a_renamed_section_tells_the_section():
    with pytest.raises(ParamsError) as error:
        load_params(overrides=["train.rates.backbone=1", "train.cfcd.alpha=0.1"])
    assert str(error.value).splitlines() == [
        "params: train.rates: unknown key; it is now train.tuples.learning_rates and train.listwise.learning_rates",
        "params: train.cfcd: unknown key; it is now train.classification",
    ]
