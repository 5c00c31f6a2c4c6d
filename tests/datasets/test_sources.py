"""The table of benchmarks, and its copy in docs/datasets.md."""

from pathlib import Path

import pytest

from lrcr.config.datasets import DATASET_KINDS
from lrcr.datasets.sources import BENCHMARKS, HOW_MODELS

DOCS = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
FILES = [file for benchmark in BENCHMARKS.values() for file in (*benchmark.archives, *benchmark.annotations.values())]


def row(name: str) -> str:
    """The row of a benchmark in the documentation."""
    benchmark = BENCHMARKS[name]
    counts = ", ".join(f"{count:,} {what}" for what, count in benchmark.counts.items()) or "–"
    size = "–" if benchmark.size_gib is None else f"{benchmark.size_gib:g} GiB"
    return f"| `{name.replace('/', '`, split `')}` | {benchmark.title} | {counts} | {size} | {benchmark.licence} |"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_documentation_shows_each_row_of_the_table(name):
    assert row(name) in DOCS.splitlines()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_documentation_gives_the_address_of_each_file(name):
    benchmark = BENCHMARKS[name]
    for file in (benchmark.archives[0], benchmark.archives[-1], *benchmark.annotations.values()):
        (line,) = [line for line in DOCS.splitlines() if line.startswith("|") and f"`{file.name}`" in line]
        assert all(f"<{url.rsplit('/', 1)[0]}>" in line for url in file.urls), line


def test_released_models_are_documented():
    for name, file in HOW_MODELS.items():
        (line,) = [line for line in DOCS.splitlines() if line.startswith(f"- `{name}`")]
        assert line.endswith(f": <{file.urls[0]}>")


def test_names_are_safe_and_unique():
    by_name = {file.name: file for file in FILES}
    for file in FILES:
        assert by_name[file.name] == file
        path = Path(file.name)
        assert not path.is_absolute() and ".." not in path.parts
        assert file.urls and file.max_bytes > 0
        assert all(url.startswith(("http://", "https://")) for url in file.urls)


def test_every_kind_of_benchmark_is_a_kind_of_dataset():
    assert {name.split("/")[0] for name in BENCHMARKS} == set(DATASET_KINDS) - {"folder", "synthetic"}
    assert len(BENCHMARKS["revisitop1m"].archives) == 100
    assert len(BENCHMARKS["gldv2/train"].archives) == 500
    assert len(BENCHMARKS["gldv2/private"].archives) == 120


def test_the_corrupt_images_of_paris_are_in_no_list(test_data):
    from lrcr.datasets.revisited import read_revisited

    truth = read_revisited(test_data / "ground_truth" / "gnd_rparis6k.pkl")
    corrupt = {
        *(f"paris_louvre_{i:06}" for i in (136, 146)),
        *(f"paris_pantheon_{i:06}" for i in (284, 960, 974)),
        *(f"paris_pompidou_{i:06}" for i in (195, 196, 201, 467, 640)),
        *(f"paris_sacrecoeur_{i:06}" for i in (299, 330, 353)),
        *(f"paris_triomphe_{i:06}" for i in (662, 833, 863, 867)),
        "paris_moulinrouge_000422",
        "paris_museedorsay_001059",
        "paris_notredame_000188",
    }
    assert len(corrupt) == 20
    assert not corrupt & {*truth.imlist, *truth.qimlist}
