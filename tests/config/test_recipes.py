"""Recipes: what they extend, the published values that they resolve to, and the networks that they name."""

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from lrcr.config import recipes
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.recipes import merge, read_recipe, recipe_names
from lrcr.config.writing import write_params
from lrcr.errors import ParamsError
from lrcr.models.factory import build_model
from lrcr.models.graph import GraphRefinement, NoRefinement
from lrcr.models.smoothing import AverageSmoothing, LearnableSmoothing

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "lrcr" / "config" / "recipes"
GLOBAL = ("gem-r101", "rmac-r101", "solar-r101", "apgem-r101", "delg-r50", "cfcd-r50")
PIPELINE = ("how-r18", "how-r50", "lrcr-r18", "delf-r50", "delf-r-r50", "fire-r50", "scratch", *GLOBAL)
"""Those with datasets, under which the pipeline of dvc.yaml can run."""

BENCHMARKS = {
    "sfm-train": {"kind": "sfm120k", "split": "train"},
    "sfm-val": {"kind": "sfm120k", "split": "val_eccv20"},
    "roxford5k": {"kind": "roxford5k", "distractors": False},
    "rparis6k": {"kind": "rparis6k", "distractors": False},
}
ADAM = {"learning_rates": {"backbone": 5e-6, "context": 5e-5, "whitening": 0.0}, "warmup_steps": 100, "lr_decay": 0.99}
HOW: dict[str, Any] = {
    "seed": 0,
    "datasets": BENCHMARKS,
    "data": {
        "train": "sfm-train",
        "val": "sfm-val",
        "fit": "sfm-train",
        "eval": ["roxford5k", "rparis6k"],
        "folders": [],
    },
    "model": {"name": "local"},
    "backbone": {"name": "resnet18", "skip_layers": 0, "stride": None, "weights": "imagenet", "crop_border": 0},
    "smoothing": {
        "kind": "average",
        "kernel": 3,
        "distance": "feature",
        "learn": "both",
        "embedding_dim": 16,
        "initial_bandwidth": 0.0,
        "attention": "norm",
        "bandwidth_penalty": 0.0,
    },
    "graph": {
        "kind": "none",
        "output": "reweight",
        "attention_from": "before",
        "layers": 1,
        "width": 64,
        "temperature": 0.1,
        "neighbours": None,
        "self_edges": True,
    },
    "whitening": {"dim": 128, "images": 5000, "max_descriptors": 1000, "shrinkage": 1.0, "file": None},
    "train": {
        "method": "tuples",
        "epochs": 20,
        "image_size": 1024,
        "compute": "float16",
        "freeze": "none",
        "weight_decay": 1e-4,
        "validation": {
            "by": "asmk",
            "every": 5,
            "codebooks": 1,
            "extract": {
                "image_size": 1024,
                "scales": [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25],
                "max_descriptors": 1000,
            },
            "codebook": {
                "words": 65536,
                "per_word": 256,
                "images": 20000,
                "scales": [1.0],
                "max_descriptors": 1000,
                "iterations": 25,
                "seed": 0,
            },
            "search": {"multiple_assignment": 5, "alpha": 3.0, "tau": 0.0, "idf": False},
        },
        "tuples": {
            **ADAM,
            "queries_per_epoch": 2000,
            "negative_pool": 20000,
            "negatives": 5,
            "batch_size": 5,
            "group_size": 1,
            "scales": [1.0],
            "augmented_versions": 0,
            "mirror": False,
            "validation_pairs": 0,
            "margin": 0.8,
            "schedule": "joint",
            "losses": {
                "contrastive": 1.0,
                "asmk": 0.0,
                "max_descriptors": 400,
                "words": 1024,
                "temperature": 0.5,
                "codebooks": 1,
                "soft_words": 1,
            },
            "solar": {"margin": 1.25, "second_order": 10.0},
            "fire": {"contrastive": 0.02, "margin": 1.1, "ratio": 0.9, "decorrelation": 0.1},
        },
    },
    "extract": {
        "image_size": 1024,
        "scales": [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25],
        "max_descriptors": 1000,
        "min_strength": 0.0,
        "regions": "none",
        "min_region_score": 0.1,
        "compute": "float16",
        "dtype": "float32",
        "shard_size": 500,
        "decoded_images": 80,
        "store_descriptors": True,
    },
    "codebook": {
        "words": 65536,
        "per_word": 256,
        "images": 20000,
        "scales": [1.0],
        "max_descriptors": 1000,
        "iterations": 25,
        "assignment": "exact",
        "seed": 0,
        "whitening": None,
        "dim": None,
        "shrinkage": 1.0,
        "file": None,
    },
    "index": {
        "multiple_assignment": 1,
        "binary": True,
        "quantisation": "exact",
        "pack_ids": False,
        "memory_gib": 2.0,
        "dtype": "float32",
        "local_descriptors": "none",
    },
    "search": {"multiple_assignment": 5, "alpha": 3.0, "tau": 0.0, "idf": False, "top": None},
    "rerank": [],
}


def changed(values: dict, changes: dict) -> dict:
    """A copy of nested values with those under dotted keys changed; each was there and was another."""
    values = copy.deepcopy(values)
    for key, value in changes.items():
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        assert section[last] != value, key
        section[last] = value
    return values


POOLING = {
    **{"p": 3.0, "clamp": 0.0, "regional": False, "over_scales": "mean"},
    **{"levels": 3, "overlap": 0.4, "projection": None},
}
CFCD = {
    **{name: HOW[name] for name in ("seed", "index", "search", "rerank")},
    "datasets": {
        "gldv2-train": {"kind": "gldv2", "split": "train"},
        **{name: BENCHMARKS[name] for name in ("sfm-val", "roxford5k", "rparis6k")},
    },
    "data": {
        "train": "gldv2-train",
        "val": "sfm-val",
        "fit": "gldv2-train",
        "eval": ["roxford5k", "rparis6k"],
        "folders": [],
    },
    "model": {"name": "cfcd"},
    "backbone": {"name": "resnet50", "skip_layers": 0, "stride": None, "weights": "imagenet", "crop_border": 1},
    "whitening": {**HOW["whitening"], "dim": 96},  # unused, as the border to crop is
    "pooling": {**POOLING, "projection": 512},
    "train": {
        "method": "classification",
        "epochs": 50,
        "image_size": 512,
        "compute": "float16",
        "freeze": "none",
        "weight_decay": 1e-4,
        "validation": {"by": "global", "every": 5},
        "classification": {
            "epochs": None,
            "crop_size": None,
            "min_crop_area": 0.08,
            "learning_rate": 0.005,
            "batch_size": 128,
            "warmup_epochs": 5,
            "fine_epochs": 50,
            "fine_learning_rate": None,
            "fine_crop_size": None,
            "clip_norm": None,
            "head": "madacos",
            "alpha": 0.02,
            "batchnorm": "trained",
            "colour_noise": 0.1,
            "scale": 32.0,
            "margin": 0.15,
            "reconstruction": 10.0,
            "local": 0.05,
        },
    },
    "extract": {**HOW["extract"], "scales": [0.3535, 0.5, 0.7071, 1.0, 1.4142]},
    "codebook": {
        **HOW["codebook"],
        "assignment": "approximate",
        "scales": [0.3535, 0.5, 0.7071, 1.0, 1.4142],
        "whitening": "none",
    },
}
DELF = {
    **{name: HOW[name] for name in ("seed", "extract", "codebook", "index", "rerank")},
    **{name: CFCD[name] for name in ("datasets", "data")},
    "model": {"name": "delf"},
    "backbone": {"name": "resnet50", "skip_layers": 1, "stride": None, "weights": "imagenet", "crop_border": 0},
    "whitening": {**HOW["whitening"], "shrinkage": 0.0},
    "train": {
        **CFCD["train"],
        "epochs": 25,
        "classification": {
            **CFCD["train"]["classification"],
            "crop_size": 224,
            "min_crop_area": 0.25,
            "learning_rate": 0.01,
            "batch_size": 32,
            "warmup_epochs": 0,
            "fine_epochs": 10,
            "fine_crop_size": 720,
            "head": "linear",
            "colour_noise": 0.0,
        },
        "validation": {
            **HOW["train"]["validation"],
            "search": {"multiple_assignment": 3, "alpha": 3.0, "tau": 0.25, "idf": True},
        },
    },
    "search": {**HOW["search"], "multiple_assignment": 3, "tau": 0.25, "idf": True},
}
DELG = {
    **{name: CFCD[name] for name in ("seed", "datasets", "data", "index", "search", "rerank")},
    "model": {"name": "delg"},
    "backbone": {"name": "resnet50", "skip_layers": 0, "stride": None, "weights": "imagenet", "crop_border": 0},
    "whitening": {**HOW["whitening"], "dim": 96},  # unused
    "pooling": {**POOLING, "projection": 2048},
    "train": {
        **CFCD["train"],
        "epochs": 25,
        "classification": {
            **CFCD["train"]["classification"],
            "min_crop_area": 0.25,
            "learning_rate": 0.01,
            "batch_size": 32,
            "warmup_epochs": 0,
            "fine_epochs": 0,
            "clip_norm": 10.0,
            "head": "arcface",
            "colour_noise": 0.0,
            "scale": 45.25,
            "margin": 0.1,
        },
    },
    "extract": {
        **HOW["extract"],
        "scales": [2.0, 1.4142, 1.0, 0.7071, 0.5, 0.3535, 0.25],
        "vector_scales": [0.7071, 1.0, 1.4142],
        "min_strength": 0.1,
    },
    "codebook": {
        **CFCD["codebook"],
        "scales": [2.0, 1.4142, 1.0, 0.7071, 0.5, 0.3535, 0.25],
    },
}
GEM = changed(
    HOW,
    {
        "model.name": "gem",
        "backbone.name": "resnet101",
        "train.epochs": 100,
        "train.image_size": 362,
        "train.validation": {"by": "global", "every": 1},
        "train.tuples.negative_pool": 22000,
        "train.tuples.margin": 0.85,
        "train.tuples.learning_rates": {"backbone": 5e-7, "context": 5e-6, "whitening": 0.0},
        "train.tuples.warmup_steps": 0,
        "extract.scales": [1.0, 0.7071, 0.5],
        "codebook.scales": [1.0, 0.7071, 0.5],
        "codebook.whitening": "discriminative",
    },
)
del GEM["smoothing"], GEM["graph"]
GEM["pooling"] = POOLING
RMAC = changed(GEM, {"model.name": "rmac", "train.epochs": 0, "codebook.whitening": "pca"})
LANDMARKS = {
    "datasets": {**BENCHMARKS, "gldv2-train": {"kind": "gldv2", "split": "train"}},
    "data.train": "gldv2-train",
    "pooling.projection": 2048,
}
SOLAR = changed(
    GEM,
    {
        **LANDMARKS,
        "model.name": "solar",
        "train.epochs": 50,
        "train.image_size": 1024,
        "train.tuples.negative_pool": 20000,
        "train.tuples.batch_size": 8,
        "train.tuples.learning_rates": {"backbone": 1e-6, "context": 1e-6, "whitening": 0.0},
        "extract.scales": [0.7071, 1.0, 1.4142],
        "codebook.scales": [0.7071, 1.0, 1.4142],
        "codebook.whitening": "none",
    },
)
APGEM = changed(
    GEM,
    {
        **LANDMARKS,
        "model.name": "apgem",
        "train.method": "listwise",
        "train.epochs": 1,
        "train.image_size": 800,
        "train.weight_decay": 1e-6,
        "extract.scales": [1.0],
        "codebook.scales": [1.0],
        "codebook.whitening": "pca",
        "codebook.shrinkage": 0.5,
    },
)
del APGEM["train"]["tuples"]
APGEM["train"]["listwise"] = {
    **{"epochs": None, "crop_size": None, "min_crop_area": 0.08, "batch_size": 4096, "chunk_size": 8, "bins": 25},
    **{"learning_rates": {"backbone": 1e-4, "context": 1e-4, "whitening": 0.0}, "warmup_steps": 0, "lr_decay": 0.99},
}
FIRE = changed(
    HOW,
    {
        "model.name": "fire",
        "backbone.name": "resnet50",
        "backbone.skip_layers": 1,
        "train.epochs": 200,
        "train.tuples.mirror": True,
        "train.tuples.warmup_steps": 0,
        "train.tuples.learning_rates": {"backbone": 3e-5, "context": 3e-5, "whitening": 0.0},
    },
)
for section in ("smoothing", "graph"):
    del FIRE[section]
FIRE["super_features"] = {"templates": 256, "dim": 1024, "iterations": 6}
FIRE["train"]["pretrain"] = {
    **{"epochs": 30, "crop_size": 224, "min_crop_area": 0.08},
    **{"batch_size": 128, "learning_rate": 0.1, "warmup_epochs": 5},
}
SCRATCH = changed(
    HOW,
    {
        "datasets": {
            "synthetic": {
                **{"kind": "synthetic", "split": "eval", "landmarks": 64, "images": 600, "distractors": 152},
                "queries": 160,
            },
            "synthetic-train": {
                **{"kind": "synthetic", "split": "train", "landmarks": 125, "images": 1000, "distractors": 0},
                "queries": 0,
            },
            "synthetic-val": {
                **{"kind": "synthetic", "split": "val", "landmarks": 24, "images": 180, "distractors": 36},
                "queries": 48,
            },
        },
        "data": {
            "train": "synthetic-train",
            "val": "synthetic-val",
            "fit": "synthetic-train",
            "eval": ["synthetic"],
            "folders": [],
        },
        "backbone.skip_layers": 2,
        "backbone.weights": "none",
        "whitening.dim": 64,
        "whitening.images": 100,
        "whitening.max_descriptors": 300,
        "train.epochs": 12,
        "train.image_size": 128,
        "train.validation": {"by": "global", "every": 1},
        "train.tuples.queries_per_epoch": 120,
        "train.tuples.negative_pool": 20,
        "train.tuples.negatives": 3,
        "train.tuples.batch_size": 2,
        "train.tuples.learning_rates.backbone": 2e-4,
        "train.tuples.lr_decay": 0.95,
        "extract.image_size": 320,
        "codebook.assignment": "approximate",
        "extract.scales": [1.0, 0.707, 0.5],
        "extract.max_descriptors": 300,
        "codebook.words": 1024,
        "codebook.images": 300,
        "codebook.max_descriptors": 300,
    },
)
SCRATCH["train"]["pretrain"] = {
    "epochs": 60,
    "crop_size": 64,
    "min_crop_area": 0.3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "warmup_epochs": 1,
}
EXPECTED = {
    "how-r18": HOW,
    "how-r50": changed(
        HOW,
        {
            "backbone.name": "resnet50",
            "backbone.skip_layers": 1,
            "train.tuples.learning_rates.backbone": 1e-6,
            "train.tuples.learning_rates.context": 1e-5,
        },
    ),
    "lrcr-r18": changed(
        HOW,
        {
            "backbone.crop_border": 1,
            "smoothing.kind": "learnable",
            "smoothing.initial_bandwidth": 2.0,
            "graph.kind": "gcn",
            "train.tuples.scales": [1.0, 0.707, 0.5],
            "train.tuples.negatives": 0,
            "train.tuples.batch_size": 10,
            "train.tuples.group_size": 4,
            "train.tuples.learning_rates.context": 5e-4,
            "train.tuples.losses.contrastive": 0.0,
            "train.tuples.losses.asmk": 1.0,
            "train.tuples.losses.codebooks": 4,
            "train.tuples.losses.soft_words": 5,
        },
    ),
    "delf-r50": DELF,
    "delf-r-r50": changed(DELF, {"extract.regions": "grid", "extract.shard_size": 50}),
    "delg-r50": DELG,
    "fire-r50": FIRE,
    "gem-r101": GEM,
    "rmac-r101": RMAC,
    "solar-r101": SOLAR,
    "apgem-r101": APGEM,
    "cfcd-r50": CFCD,
    "scratch": SCRATCH,
    "context": changed(
        HOW,
        {
            "datasets": {},
            "data": {"train": None, "val": None, "fit": None, "eval": [], "folders": []},
            "backbone.skip_layers": 1,
            "backbone.crop_border": 1,
            "smoothing.kind": "none",
            "smoothing.initial_bandwidth": 1.0,
            "graph.kind": "gcn",
            "whitening.images": 300,
            "train.freeze": "backbone",
            "train.compute": "float32",
            "train.image_size": 512,
            "train.weight_decay": 0.0,
            "train.epochs": 8,
            "train.validation.every": 2,
            "train.validation.codebooks": 3,
            "train.validation.extract": {"image_size": 512, "scales": [1.0, 0.707, 0.5], "max_descriptors": 500},
            "train.validation.codebook.words": 2048,
            "train.validation.codebook.images": 300,
            "train.validation.codebook.per_word": 64,
            "train.validation.codebook.iterations": 7,
            "train.tuples.scales": [1.0, 0.707, 0.5],
            "train.tuples.negatives": 0,
            "train.tuples.batch_size": 16,
            "train.tuples.group_size": 4,
            "train.tuples.queries_per_epoch": 960,
            "train.tuples.negative_pool": 300,
            "train.tuples.learning_rates.backbone": 0.0,
            "train.tuples.learning_rates.context": 5e-4,
            "train.tuples.warmup_steps": 20,
            "train.tuples.lr_decay": 0.85,
            "train.tuples.losses.contrastive": 0.0,
            "train.tuples.losses.asmk": 1.0,
            "train.tuples.losses.codebooks": 4,
            "train.tuples.losses.soft_words": 5,
            "extract.image_size": 512,
            "extract.compute": "auto",
            "codebook.words": 2048,
            "codebook.assignment": "approximate",
        },
    ),
}


def read(file: Path) -> dict:
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def leaves(values: dict, path: str = "") -> dict:
    """The values that are no sections, under their dotted keys."""
    found = {}
    for key, value in values.items():
        found.update(leaves(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value})
    return found


def test_the_names_are_those_of_the_files_and_of_this_test():
    assert recipe_names() == sorted(EXPECTED) == sorted(file.stem for file in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_recipe_resolves_to_its_published_values(name):
    """Every value that decides a result is compared, also those of keys that the recipe does not name."""
    params = load_params(recipe=name)
    assert params.sections(*Params.model_fields) == {
        "device": "auto",
        "threads": None,
        "executor": "local",
        **EXPECTED[name],
    }


@pytest.mark.parametrize(
    ("name", "channels", "stride", "dim", "smoothing", "graph"),
    [
        ("how-r18", 512, 32, 128, AverageSmoothing, NoRefinement),
        ("how-r50", 1024, 16, 128, AverageSmoothing, NoRefinement),
        ("lrcr-r18", 512, 32, 128, LearnableSmoothing, GraphRefinement),
        ("delf-r50", 1024, 16, 128, None, None),
        ("delf-r-r50", 1024, 16, 128, None, None),
        ("delg-r50", 1024, 16, 2048, None, None),
        ("fire-r50", 1024, 16, 128, None, None),
        *((name, 2048, 32, 2048, None, None) for name in ("gem-r101", "rmac-r101", "solar-r101", "apgem-r101")),
        ("cfcd-r50", 2048, 32, 512, None, None),
        ("context", 256, 16, 128, AverageSmoothing, GraphRefinement),
        ("scratch", 128, 8, 64, AverageSmoothing, NoRefinement),
    ],
)
@torch.no_grad()
def test_the_network_of_every_recipe(name, channels, stride, dim, smoothing, graph):
    params = load_params(recipe=name, overrides=["backbone.weights=none"])
    model = build_model(params).eval()
    assert model.backbone(torch.zeros(1, 3, 128, 96)).shape == (1, channels, 128 // stride, 96 // stride)
    assert (model.backbone.channels, model.backbone.stride) == (channels, stride)
    if smoothing is not None:
        assert model.whitening.bias.shape == (dim,)
    if smoothing is not None:
        assert isinstance(model.smoothing, smoothing) and isinstance(model.graph, graph)
        assert model.smoothing.kernel == (1 if params.smoothing.kind == "none" else params.smoothing.kernel)
    if not params.model.is_local:
        assert model(torch.rand(1, 3, 128, 96)).shape == (1, dim)


@pytest.mark.parametrize("name", [name for name in EXPECTED if "extends" in read(FOLDER / f"{name}.yaml")])
def test_a_recipe_that_extends_another_says_only_what_differs(name):
    own = read(FOLDER / f"{name}.yaml")
    base = leaves(read_recipe(own.pop("extends")))
    assert own
    for key, value in leaves(own).items():
        assert base.get(key) != value, f"{name}: {key} is {value} in its base too; leave it out"


def test_how_states_everything_that_it_publishes():
    """So that HOW stays HOW whatever the defaults become."""
    stated = set(leaves(read(FOLDER / "how-r18.yaml")))
    unread = r"pooling|super_features|train\.(pretrain|listwise|classification)"
    unread += r"|train\.tuples\.(solar|fire|warmup_steps|validation_pairs)"
    unread += r"|train\.validation\.codebooks|extract\.global_scales"
    unread += r"|train\.tuples\.losses\.(max_descriptors|words|temperature|codebooks|soft_words)"
    context = r"smoothing\.(?!kind|kernel)|graph\.(?!kind)"
    neutral = r"seed|device|threads|executor|data\.folders|train\.method"
    neutral += r"|.*\.(seed|file|per_word|dtype|shard_size|pack_ids|memory_gib|top)$"
    neutral += r"|rerank|codebook\.(whitening|dim|shrinkage)|extract\.(decoded_images|min_region_score)"
    neutral += r"|index\.local_descriptors"
    every = set(leaves(load_params(recipe="how-r18").model_dump(mode="json")))
    assert stated == {key for key in every if not re.match(f"{unread}|{context}|{neutral}", key)}


def test_the_wheel_holds_every_recipe():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["lrcr"]
    held = {file for pattern in patterns for file in (ROOT / "lrcr").glob(pattern)}
    assert held >= set(FOLDER.glob("*.yaml"))


# Merging


def test_a_file_wins_over_the_recipe_that_it_extends_and_overrides_win_over_both(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "extends: how-r18\ntrain: {tuples: {margin: 0.7}}\nextract: {scales: [1.0]}\ndata: {eval: [rparis6k]}"
    )
    params = load_params(file, ["train.tuples.negatives=4"])
    assert (params.train.tuples.margin, params.train.tuples.negatives) == (0.7, 4)
    assert (params.extract.scales, params.data.eval) == ([1.0], ["rparis6k"])  # lists are replaced
    assert (params.data.train, params.train.validation.codebook.words) == ("sfm-train", 65536)
    assert set(params.datasets) == set(BENCHMARKS)


def test_a_file_wins_over_the_recipe_beside_it(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("backbone: {skip_layers: 2}\ndatasets: {mine: {kind: folder, path: x}}")
    params = load_params(file, recipe="how-r50")
    assert (params.backbone.name, params.backbone.skip_layers) == ("resnet50", 2)
    assert set(params.datasets) == {*BENCHMARKS, "mine"}


def test_a_file_that_extends_wins_over_a_recipe_beside_it(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("extends: lrcr-r18\nseed: 3")
    params = load_params(file, recipe="how-r50")
    assert (params.seed, params.backbone.name, params.graph.kind) == (3, "resnet18", "gcn")


def test_merging_replaces_lists_and_values_and_leaves_its_arguments_alone():
    base, values = {"a": {"b": 1, "c": [1, 2]}, "d": 3, "e": {"f": 1}}, {"a": {"c": [3]}, "d": {"g": 4}, "e": None}
    before = copy.deepcopy((base, values))
    assert merge(base, values) == {"a": {"b": 1, "c": [3]}, "d": {"g": 4}, "e": None}
    assert (base, values) == before


def refusal(*args, **kwargs) -> str:
    with pytest.raises(ParamsError) as error:
        load_params(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize("name", ["how", "../recipes/how-r18", ""])
def test_unknown_recipes_are_refused_with_the_known_ones(tmp_path, name):
    known = "apgem-r101, cfcd-r50, context, delf-r-r50, delf-r50, delg-r50, fire-r50, gem-r101, how-r18, how-r50, "
    known += "lrcr-r18, rmac-r101, scratch, solar-r101"
    assert refusal(recipe=name) == f"--recipe: unknown recipe {name!r}; use one of {known}"
    file = tmp_path / "params.yaml"
    file.write_text(f"extends: {name!r}")
    assert refusal(file) == f"{file}: extends: unknown recipe {name!r}; use one of {known}"


def test_names_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("extends: [how-r18]")
    assert refusal(file).startswith(f"{file}: extends: unknown recipe ['how-r18']; use one of ")


def test_cycles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "_FOLDER", tmp_path)
    for name, base in {"a": "b", "b": "c", "c": "b", "d": "d"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}\nseed: 1")
    assert refusal(recipe="a") == "recipe c: extends: a → b → c → b is a cycle; use one of d"
    assert refusal(recipe="d") == "recipe d: extends: d → d is a cycle; use one of a, b, c"


def test_recipes_extend_over_several_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "_FOLDER", tmp_path)
    (tmp_path / "a.yaml").write_text("extends: b\nsmoothing: {kernel: 7}")
    (tmp_path / "b.yaml").write_text("extends: c\nsmoothing: {kernel: 5, kind: learnable}")
    (tmp_path / "c.yaml").write_text("seed: 4\nsmoothing: {kind: none}")
    assert read_recipe("a") == {"seed": 4, "smoothing": {"kernel": 7, "kind": "learnable"}}


def test_wrong_values_name_the_recipe(tmp_path, monkeypatch):
    assert refusal(recipe="context", overrides=["smoothing.kernel=4"]) == (
        "recipe context: smoothing.kernel: 4 is refused: must be odd (a kernel has a centre): 1, 3, 5 or 7"
    )


# The pipeline


def tracked_params() -> set[str]:
    """Every param that a stage of dvc.yaml depends on."""
    stages = read(ROOT / "dvc.yaml")["stages"].values()
    return {param for stage in stages for param in stage.get("do", stage).get("params", ()) if "${" not in param}


@pytest.mark.parametrize("name", PIPELINE)
def test_written_recipes_hold_what_the_pipeline_asks_for(name):
    values = YAML(typ="safe", pure=True).load(write_params(name))
    for param in tracked_params():
        section = values
        for key in param.split("."):
            assert key in section, f"{param} is missing"
            section = section[key]
    params = load_params(recipe=name)
    used = {params.data.train, params.data.val, params.data.fit, *params.data.eval}
    assert used == set(params.datasets)


@pytest.mark.parametrize("name", PIPELINE)
def test_the_documentation_tells_how_to_use_each(name):
    text = (ROOT / "docs" / "reproduce.md").read_text()
    assert re.search(rf"^ *lrcr init --recipe {name} --force$", text, re.MULTILINE)
