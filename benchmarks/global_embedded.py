"""The embedded dataset: all models of one queued grid in one table, and the parts of CFCD.

Reads the experiments of the current commit that the commands in docs/results/global.md have made. The cost of
extraction and search is measured here, for all models in the same way; they are not trained for it, as weights do not
change the cost.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.api import DVCFileSystem, exp_show

from benchmarks.global_photos import evaluate
from benchmarks.tables import interval, markdown, spread
from benchmarks.values import PICTURES, RESULTS, Value
from lrcr.cli.revisions import read_revision
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.errors import LrcrError
from lrcr.evaluation.per_query import parse_per_query
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.seeds import Side, Spread, compare_seeds
from lrcr.report.picture import blank_figure, save_figure
from lrcr.storage.artifacts import staged_file

Changes = dict[str, Any]
"""Keys of params.yaml and their values."""

_MODELS = {
    "local": "HOW + ASMK",
    "mac": "MAC",
    "spoc": "SPoC",
    "gem": "GeM",
    "rmac": "R-MAC",
    "solar": "SOLAR",
    "apgem": "AP-GeM",
    "cfcd": "CFCD",
}
_FROM_CLASSIFIER = {"backbone.weights": str(Path("trunk.safetensors").resolve())}
"""The model of CFCD's first phase, in the file named in docs/results/global.md; other models start from its trunk."""

_COARSE = {"train.classification.fine_epochs": 0}
_BASE = "MadaCos"
_CURVES = {"scale": "scale", "margin": "margin", "validation_map": "validation mAP (medium)"}


def run() -> Iterator[Value]:
    """Write tables to `results/global_embedded.md` and CFCD's curves; yield mAP and cost of each model."""
    params, runs = load_params(Path("params.yaml")), pd.DataFrame(exp_show())
    models = {title: _select(runs, {"model.name": name}) for name, title in _MODELS.items()}
    others = {name: title for name, title in _MODELS.items() if name != "cfcd"}
    from_classifier = {title: _select(runs, {"model.name": name, **_FROM_CLASSIFIER}) for name, title in others.items()}
    parts = {title: _select(runs, {"model.name": "cfcd", **changes}) for title, changes in _parts(params).items()}
    costs = _measure_costs(params)
    for title, own in models.items():
        for setup in SETUPS:
            yield Value(f"{title}: mAP ({setup}), mean over seeds", float(own[f"map.{setup}"].mean()))
        if title in from_classifier:
            value = float(from_classifier[title]["map.medium"].mean())
            yield Value(f"{title}, trunk of a classifier: mAP (medium), mean over seeds", value)
        for what, value in costs[title].items():
            yield Value(f"{title}: {what}", value)
    with staged_file(RESULTS / "global_embedded.md") as temporary:
        tables = [_tabulate_models(models, from_classifier, costs), _tabulate_parts(parts)]
        temporary.write_text("\n".join(tables), encoding="utf-8")
    _draw_curves(PICTURES / "global_embedded.png", models["CFCD"])


def _parts(params: Params) -> dict[str, Changes]:
    """What each row of CFCD's table changes; the controls train the classifier for as many epochs as both phases."""
    settings = params.train.classification
    coarse, fine = settings.epochs or params.train.epochs, settings.fine_epochs
    return {
        "fixed scale and margin": {**_COARSE, "train.classification.head": "fixed"},
        _BASE: _COARSE,
        f"{_BASE}, {fine} more epochs": {**_COARSE, "train.classification.epochs": coarse + fine},
        f"{_BASE}, then tuples of confused classes without local triplets": {"train.classification.local": 0},
        f"{_BASE}, then tuples of confused classes with local triplets": {},
        f"{_BASE}, {2 * coarse + fine} epochs": {**_COARSE, "train.classification.epochs": 2 * coarse + fine},
        f"{_BASE}, {2 * coarse} epochs, then tuples of confused classes with local triplets": {
            "train.classification.epochs": 2 * coarse
        },
    }


def _select(runs: pd.DataFrame, changes: Changes) -> pd.DataFrame:
    """The experiments in which only these params and the seed differ from params.yaml: a row for each seed.

    Raises:
        LrcrError: there is none.
    """
    own = runs.iloc[0].to_dict() | changes  # the first row is that of the workspace
    sections = tuple(f"{name}." for name in Params.model_fields)
    keys = [key for key in runs.columns if key.startswith(sections)]
    done = runs["Experiment"].notna() & runs["map.medium"].notna()
    chosen = runs[done & (runs[keys] == pd.Series(own)[keys]).all(axis=1)]
    if chosen.empty:
        raise LrcrError(f"no experiment on this commit has {changes}; queue it first (docs/results/global.md)")
    return chosen.drop_duplicates("seed").sort_values("seed")


def _measure_costs(params: Params) -> dict[str, dict[str, float]]:
    """Images per second in extraction and milliseconds per query in search, for each model."""
    costs, [name] = {}, params.data.eval
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(name, params.datasets[name], Path(folder, name), seed=params.seed, progress=progress)
        for model, title in _MODELS.items():
            own = load_params(Path("params.yaml"), [f"model.name={model}", "train.epochs=0"])
            result, images_per_second = evaluate(own, Path(folder, name), Path(folder, model))
            costs[title] = {"images/s": images_per_second, "ms per query": result.cost["search_ms_per_query"]}
    return costs


def _tabulate_models(
    models: dict[str, pd.DataFrame], from_classifier: dict[str, pd.DataFrame], costs: dict[str, dict[str, float]]
) -> str:
    """A Markdown table: mAP ± standard deviation over seeds of each model, with both starts, its size and its cost."""
    rows = []
    for title, own in models.items():
        first = own.iloc[0]
        vectors = pd.to_numeric(first.get("dimensions"), errors="coerce")  # missing for local models
        dimensions = "" if pd.isna(vectors) else f"{vectors:.0f}"
        size = [dimensions, f"{first['bytes_per_image']:.0f}"]
        cost = [f"{value:.3g}" for value in costs[title].values()]
        better = from_classifier.get(title)
        medium = "" if better is None else dict(zip(SETUPS, _maps(better), strict=True))["medium"]
        rows.append([title, f"{len(own)}", *_maps(own), medium, *size, *cost])
    start = "medium, trunk of a classifier"
    return markdown(["", "seeds", *SETUPS, start, "dimensions", "bytes per image", "images/s", "ms per query"], rows)


def _tabulate_parts(parts: dict[str, pd.DataFrame]) -> str:
    """A Markdown table: CFCD with some of its parts, and differences to its first phase over common seeds."""
    rows = []
    for title, own in parts.items():
        differences = ["" if title == _BASE else _difference(own, parts[_BASE], setup) for setup in SETUPS]
        rows.append([title, f"{len(own)}", *_maps(own), *differences])
    return markdown(["", "seeds", *SETUPS, *(f"{setup}, difference to {_BASE}" for setup in SETUPS)], rows)


def _maps(own: pd.DataFrame) -> list[str]:
    """The mAP in each setup, ± its standard deviation over seeds."""
    values = [own[f"map.{setup}"] for setup in SETUPS]
    return [spread(Spread(each.mean(), each.std() if len(each) > 1 else None)) for each in values]


def _difference(own: pd.DataFrame, base: pd.DataFrame, setup: str) -> str:
    """Difference in points of mAP with its 95 % interval, over common seeds."""
    pairs = own.merge(base, on="seed", suffixes=("", " of base"))
    sides = [[_side(name) for name in pairs[column]] for column in ("Experiment", "Experiment of base")]
    difference = compare_seeds(*sides, setup).difference
    assert difference is not None, "the dataset has several landmarks"
    return interval(difference)


def _side(experiment: str) -> Side:
    where, contents = read_revision(experiment, None)
    return Side(where, parse_per_query(contents, where))


def _draw_curves(path: Path, own: pd.DataFrame) -> None:
    """Draw scale and margin of MadaCos and the validation mAP against the epoch; a line for each seed."""
    figure = blank_figure(11, 3.5)
    axes = figure.subplots(1, len(_CURVES))
    for name, seed in zip(own["Experiment"], own["seed"], strict=True):
        tree = DVCFileSystem(rev=name)
        for axis, (curve, title) in zip(axes, _CURVES.items(), strict=True):
            with tree.open(f"/metrics/training/plots/metrics/{curve}.tsv") as file:
                values = pd.read_csv(file, sep="\t")
            axis.plot(values["step"], values[curve], label=f"seed {seed:.0f}")
            axis.set(xlabel="epoch", title=title)
            axis.grid(alpha=0.3)
    axes[0].legend()
    save_figure(path, figure, "curves")
