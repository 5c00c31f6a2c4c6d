"""`Params.sections`: what a trained model is named by. It holds what training reads, and nothing else."""

import pytest
from ruamel.yaml import YAML

from lrcr.config.params import Params
from lrcr.config.reading import check_params, load_params
from lrcr.config.recipes import merge
from lrcr.errors import ParamsError
from lrcr.models.factory import MODEL_SECTIONS

RESNET = ("backbone.name=resnet18", "backbone.stride=null", "backbone.weights=imagenet")
RANDOM = (*RESNET, "backbone.weights=none")
BASES = {
    "how": load_params(recipe="how-r18"),
    "how by global": load_params(recipe="how-r18", overrides=["train.validation.by=global"]),
    "fire": load_params(overrides=[*RESNET, "model.name=fire"]),
    "apgem": load_params(overrides=[*RESNET, "model.name=apgem"]),
    "delf": load_params(recipe="delf-r50", overrides=["train.validation.search.idf=false"]),
    "cfcd": load_params(recipe="cfcd-r50"),
    "pretrained": load_params(overrides=[*RANDOM, "model.name=apgem"]),
    "random": load_params(overrides=[*RANDOM, "model.name=apgem", "train.pretrain.epochs=0"]),
    "untrained": load_params(overrides=[*RANDOM, "model.name=apgem", "train.epochs=0"]),
}
ELSEWHERE = [
    *("extract.image_size=77", "extract.scales=[3]", "extract.max_descriptors=7", "extract.dtype=float16"),
    *("codebook.words=7", "codebook.images=7", "codebook.scales=[3]", "codebook.iterations=7", "codebook.seed=7"),
    *("index.multiple_assignment=2", "index.binary=false", "index.pack_ids=true"),
    *("search.multiple_assignment=7", "search.alpha=7", "search.tau=0.5", "search.idf=true", "search.top=7"),
    *("device=cpu", "threads=2", "executor=ray"),
]
TUPLES = [
    *("train.tuples.margin=0.7", "train.tuples.negatives=7", "train.tuples.learning_rates.context=0.5"),
    *("train.tuples.warmup_steps=7", "train.tuples.losses.words=7", "train.tuples.scales=[0.5]"),
    *("train.tuples.augmented_versions=7", "train.tuples.mirror=true", "train.tuples.fire.margin=7"),
]
LISTWISE = [
    *("train.listwise.bins=7", "train.listwise.epochs=7", "train.listwise.lr_decay=0.5"),
    "train.listwise.learning_rates.backbone=0.5",
]
CLASSIFICATION = [
    *("train.classification.alpha=0.5", "train.classification.epochs=7", "train.classification.fine_epochs=7"),
    "train.classification.min_crop_area=0.5",
]
VALIDATION = [
    *("train.validation.codebook.words=7", "train.validation.codebook.seed=7", "train.validation.extract.image_size=7"),
    *("train.validation.search.alpha=7", "train.validation.search.idf=true"),
]
TRAINING = [
    *("train.epochs=7", "train.image_size=77", "train.weight_decay=0.5", "train.freeze=backbone", "train.freeze=2"),
    *("train.validation.every=7", "backbone.skip_layers=2", "backbone.weights=other.pth", "seed=7"),
]
PRETRAIN = [
    *("train.pretrain.epochs=7", "train.pretrain.crop_size=7", "train.pretrain.min_crop_area=0.5"),
    *("train.pretrain.batch_size=7", "train.pretrain.learning_rate=0.5", "train.pretrain.warmup_epochs=7"),
]
CONTEXT = ["smoothing.kernel=5", "smoothing.kind=none", "graph.kind=gcn", "graph.width=8"]
POOLING = ["pooling.p=2"]
SUPER_FEATURES = ["super_features.templates=7", "super_features.dim=7", "super_features.iterations=7"]
CHANGES = {
    "how": [*TRAINING, *TUPLES, *VALIDATION, *CONTEXT],
    "how by global": [*TRAINING, *TUPLES, *CONTEXT],
    "fire": [*TRAINING, *TUPLES, *VALIDATION, *PRETRAIN, *SUPER_FEATURES],
    "apgem": [*TRAINING, *LISTWISE, *POOLING],
    "delf": [*TRAINING, *CLASSIFICATION, *VALIDATION],
    "cfcd": [*TRAINING, *CLASSIFICATION, *POOLING],
    "pretrained": [*TRAINING, *PRETRAIN, *LISTWISE, *POOLING],
    "random": [*TRAINING, *PRETRAIN[:1], *LISTWISE, *POOLING],
    "untrained": [*TRAINING, *LISTWISE, *POOLING],
}
ALL = [*ELSEWHERE, *PRETRAIN, *TUPLES, *LISTWISE, *CLASSIFICATION, *VALIDATION, *TRAINING, *CONTEXT, *POOLING]
ALL += SUPER_FEATURES


def change(params: Params, override: str) -> Params:
    key, _, text = override.partition("=")
    values = YAML(typ="safe", pure=True).load(text)
    for part in reversed(key.split(".")):
        values = {part: values}
    return check_params(merge(params.model_dump(mode="json"), values), override)


@pytest.mark.parametrize("base", BASES)
def test_a_model_changes_with_exactly_what_its_training_reads(base):
    params = BASES[base]
    before = params.sections(*MODEL_SECTIONS)
    changed = {override for override in ALL if change(params, override).sections(*MODEL_SECTIONS) != before}
    assert changed == set(CHANGES[base])


def test_a_model_is_what_its_sections_say():
    """What is left out of the sections is not needed to make the same model again."""
    for params in BASES.values():
        sections = params.sections(*MODEL_SECTIONS)
        assert check_params(sections, "sections").sections(*MODEL_SECTIONS) == sections


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("local", "tuples"), ("fire", "tuples"), ("gem", "tuples"), ("solar", "tuples"), ("apgem", "listwise")),
        *(("delf", "classification"), ("delg", "classification"), ("cfcd", "classification")),
    ],
)
def test_without_a_method_a_model_is_trained_as_in_its_publication(name, method):
    params = load_params(overrides=[*RESNET, f"model.name={name}"])
    assert (params.train.method, params.method) == (None, method)
    train = params.sections("train")["train"]
    assert train["method"] == method
    assert {"tuples", "listwise", "classification"} & set(train) == {method}


def test_the_given_method_wins_over_that_of_the_model():
    params = load_params(recipe="cfcd-r50", overrides=["train.method=tuples"])
    train = params.sections("train")["train"]
    assert (params.method, train["method"]) == ("tuples", "tuples")
    assert train["tuples"]["margin"] == 0.8 and "classification" not in train
    said = load_params(recipe="cfcd-r50", overrides=["train.method=classification"])
    assert said.sections("train") == load_params(recipe="cfcd-r50").sections("train")


@pytest.mark.parametrize("method", ["listwise", "classification"])
def test_methods_for_global_vectors_are_refused_for_local_models(method):
    with pytest.raises(ParamsError) as error:
        load_params(recipe="how-r18", overrides=[f"train.method={method}"])
    assert str(error.value) == (
        f"recipe how-r18: train.method: {method} trains global vectors; set it to tuples, or model.name gem"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.tuples.losses.asmk=1"], "train.tuples.losses: fire has its own (train.tuples.fire); leave asmk"),
        (["train.tuples.scales=[1.0, 0.5]"], "train.tuples.scales: fire is trained at one scale; leave one"),
        (["train.tuples.schedule=separate"], "train.tuples.schedule: fire has no smoothing and graph; set it to joint"),
        (
            ["train.method=listwise"],
            "train.method: listwise trains global vectors; set it to tuples, or model.name gem",
        ),
    ],
)
def test_what_fire_does_not_have_is_refused(overrides, message):
    with pytest.raises(ParamsError) as error:
        load_params(overrides=["model.name=fire", *overrides])
    assert message in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.name=cfcd", "train.tuples.learning_rates.whitening=1"],
        ["model.name=apgem", "train.tuples.learning_rates.whitening=1"],
        ["train.listwise.learning_rates.whitening=1"],
        ["model.name=cfcd", "train.tuples.schedule=separate"],
        ["model.name=apgem", "train.tuples.losses.asmk=1"],
    ],
)
def test_sections_that_are_not_read_refuse_nothing(overrides):
    """So that a queued grid over models stays valid."""
    load_params(overrides=["backbone.weights=none", *overrides])


def test_all_other_sections_are_complete():
    shapes = ("pooling", "smoothing", "graph", "super_features")
    names = [name for name in Params.model_fields if name not in ("train", *shapes)]
    params = load_params(overrides=["extract.global_scales=[2]"])
    dumped = params.model_dump(mode="json")
    dumped["extract"]["scales"], dumped["codebook"]["scales"] = params.scales, params.fit_scales
    del dumped["extract"]["global_scales"]
    assert params.sections(*names) == {name: dumped[name] for name in names}
