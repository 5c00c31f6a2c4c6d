"""Recipes: each a whole params.yaml, under which the pipeline of dvc.yaml can run."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lrcr.config.params import Params
from lrcr.config.reading import load_params

ROOT = Path(__file__).parents[1]
WHOLE = ("how-r18", "how-r50", "lrcr-r18", "cfcd-r50")


def read(file: Path) -> dict:
    return YAML(typ="safe", pure=True).load(file.read_text())


def tracked_params() -> set[str]:
    """Every param that a stage of dvc.yaml depends on."""
    stages = read(ROOT / "dvc.yaml")["stages"].values()
    return {param for stage in stages for param in stage.get("do", stage).get("params", ()) if "${" not in param}


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_recipe_is_valid(file):
    load_params(file)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_recipes_hold_what_the_pipeline_asks_for(name):
    values = read(ROOT / "recipes" / f"{name}.yaml")
    for param in tracked_params():
        section = values
        for key in param.split("."):
            assert key in section, f"{param} is missing"
            section = section[key]
    params = load_params(ROOT / "recipes" / f"{name}.yaml")
    used = {params.data.train, params.data.val, params.data.fit, *params.data.eval}
    assert used == set(params.datasets)


def test_how_is_what_the_defaults_are():
    """The defaults are HOW's published settings but for the validation, which is cheap there."""
    recipe, defaults = load_params(ROOT / "recipes" / "how-r18.yaml"), Params()
    for section in ("backbone", "smoothing", "graph", "whitening", "extract", "codebook", "index", "search"):
        assert getattr(recipe, section) == getattr(defaults, section), section
    validation = recipe.train.validation
    assert recipe.train.model_copy(update={"validation": defaults.train.validation}) == defaults.train
    assert (validation.by, validation.every, validation.words) == ("asmk", 5, 65536)


def test_the_recipes_differ_where_the_papers_do():
    how, large, lrcr, cfcd = (load_params(ROOT / "recipes" / f"{name}.yaml") for name in WHOLE)
    assert (large.backbone.name, large.backbone.skip_layers, large.train.rates.backbone) == ("resnet50", 1, 1e-6)
    assert large.model_copy(update={"backbone": how.backbone, "train": how.train}) == how
    assert (lrcr.smoothing.kind, lrcr.graph.kind) == ("learnable", "gcn")
    losses = lrcr.train.losses.model_copy(update={"asmk": 0.0})
    train = lrcr.train.model_copy(update={"losses": losses})
    assert lrcr.model_copy(update={"smoothing": how.smoothing, "graph": how.graph, "train": train}) == how
    assert (cfcd.model.name, cfcd.backbone.name, cfcd.backbone.skip_layers) == ("cfcd", "resnet50", 0)
    assert cfcd.train.cfcd == Params().train.cfcd and cfcd.train.epochs == cfcd.train.cfcd.fine_epochs == 50
    assert cfcd.pooling.projection == 512 and cfcd.scales == [0.3535, 0.5, 0.7071, 1.0, 1.4142]


@pytest.mark.parametrize("name", WHOLE)
def test_the_documentation_tells_how_to_use_each(name):
    text = (ROOT / "docs" / "reproduce.md").read_text()
    assert re.search(rf"^ *cp recipes/{name}\.yaml params\.yaml$", text, re.MULTILINE)
