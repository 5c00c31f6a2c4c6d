"""`lrcr compare`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lrcr.cli.options import AsJson
from lrcr.cli.revisions import read_revision
from lrcr.errors import ParamsError

if TYPE_CHECKING:
    from lrcr.evaluation.compare import Difference
    from lrcr.evaluation.seeds import Comparison, Side, Spread

_MEANING = "A .csv of `lrcr evaluate --per-query`, a .parquet ranking, a git revision, an experiment, or 'workspace'"


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"{_MEANING}; separate the seeds of one method by commas.")],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The method to compare with: as many seeds, in the same order.")
    ],
    setup: Annotated[str | None, typer.Option("--setup", help="One of easy, medium and hard; default: all.")] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset", metavar="FOLDER", help="The dataset of the rankings, for its ground truth: data/NAME."
        ),
    ] = None,
    dataset_name: Annotated[
        str | None,
        typer.Option("--dataset-name", metavar="NAME", help="Which dataset of a revision, if it evaluates several."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two methods: mAP of A minus that of B, with its interval from a bootstrap over landmarks and seeds."""
    from lrcr.evaluation.protocol import SETUPS
    from lrcr.evaluation.seeds import compare_seeds

    if setup is not None and setup not in SETUPS:
        raise ParamsError(f"--setup {setup}: unknown; choose from {', '.join(SETUPS)}")
    names_a, names_b = _split(a), _split(b)
    _refuse_unused([*names_a, *names_b], dataset, dataset_name)
    side_a, side_b = ([_read_side(name, dataset, dataset_name) for name in names] for names in (names_a, names_b))
    found = {name: compare_seeds(side_a, side_b, name) for name in (SETUPS if setup is None else (setup,))}
    if as_json:
        typer.echo(json.dumps({name: asdict(comparison) for name, comparison in found.items()}, indent=2))
    else:
        Console().print(_table(found))


def _split(given: str) -> list[str]:
    names = given.split(",")
    if not all(names):
        raise ParamsError(f"{given!r}: contains an empty name; write A1,A2,A3 without spaces")
    return names


def _refuse_unused(names: Sequence[str], dataset: Path | None, dataset_name: str | None) -> None:
    """Refuse options that none of the names would use."""
    if dataset is not None and not any(_is_ranking(name) for name in names):
        raise ParamsError(f"--dataset {dataset}: only rankings (.parquet) need it; leave it out")
    if dataset_name is not None and all(_is_table(name) or _is_ranking(name) for name in names):
        raise ParamsError(f"--dataset-name {dataset_name}: only revisions need it; leave it out")


def _is_table(name: str) -> bool:
    return name.endswith(".csv")


def _is_ranking(name: str) -> bool:
    return name.endswith(".parquet")


def _read_side(name: str, dataset: Path | None, dataset_name: str | None) -> "Side":
    from lrcr.evaluation.evaluate import evaluate_ranking
    from lrcr.evaluation.per_query import open_per_query, parse_per_query
    from lrcr.evaluation.seeds import Side

    if _is_table(name):
        return Side(name, open_per_query(Path(name)))
    if not _is_ranking(name):
        where, contents = read_revision(name, dataset_name)
        return Side(where, parse_per_query(contents, where))
    if dataset is None:
        raise ParamsError(f"{name}: a ranking needs its ground truth; name the dataset with --dataset data/NAME")
    return Side(name, evaluate_ranking(Path(name), dataset))


def _table(found: dict[str, "Comparison"]) -> Table:
    table = Table("mAP", "A", "B", "A − B", "95 % interval", "landmarks")
    for setup, comparison in found.items():
        shown = (_show(comparison.a), _show(comparison.b), *_show_difference(comparison.difference))
        table.add_row(setup, *shown, str(comparison.landmarks))
    return table


def _show(spread: "Spread | None") -> str:
    if spread is None:
        return "–"
    return f"{spread.mean:.2f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.2f}")


def _show_difference(difference: "Difference | None") -> tuple[str, str]:
    if difference is None:
        return "–", "–"
    return f"{difference.mean:+.2f}", f"{difference.low:+.2f} … {difference.high:+.2f}"
