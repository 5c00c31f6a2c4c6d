"""The files that describe the project to people and to services: citation, workflow, issue templates, changelog."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import lrcr
from lrcr.datasets.sources import BENCHMARKS, HOW_MODELS

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parse(name: str) -> dict:
    return YAML(typ="safe", pure=True).load(read(name))


def test_the_citation_names_the_version_and_the_papers():
    citation = parse("CITATION.cff")
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", lrcr.__version__, "MIT")
    assert citation["authors"] == [{"name": "The lrcr developers"}]
    years = {reference["notes"].split()[0]: reference["year"] for reference in citation["references"]}
    assert (
        years.items() >= {"HOW": 2020, "ASMK": 2013, "R-MAC": 2016, "AP-GeM": 2019, "SOLAR": 2020, "CFCD": 2023}.items()
    )
    for reference in citation["references"]:
        assert reference["type"] in ("article", "conference-paper")
        assert {"title", "authors", "year"} <= reference.keys() and len(
            reference.keys() & {"journal", "conference"}
        ) == 1


def test_the_workflow_runs_make_test_on_every_python_of_the_classifiers():
    job = parse(".github/workflows/test.yml")["jobs"]["test"]
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml"))
    assert job["strategy"]["matrix"]["python"] == classified == ["3.11", "3.12", "3.13"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_templates_have_fields_with_labels(name):
    template = parse(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert template["name"] and template["description"]
    fields = [field for field in template["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) >= 3
    assert all(field["attributes"]["label"] for field in fields)


def test_the_changelog_keeps_its_form():
    headings = [line for line in read("CHANGELOG.md").splitlines() if line.startswith("#")]
    assert headings == ["# Changelog", "## Unreleased", "### Added", "### Changed", "### Fixed"]


def test_third_party_names_every_right_and_every_released_model():
    text = read("THIRD_PARTY.md")
    assert all(benchmark.licence in text for benchmark in BENCHMARKS.values())
    assert all(f"`{name}`" in text for name in HOW_MODELS)
