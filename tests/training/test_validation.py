from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrcr.config.base import Section
from lrcr.config.params import Params
from lrcr.config.validation import ValidationCodebook, ValidationExtract, ValidationSearch
from lrcr.data.dataset import ArchivedImage, Dataset, cluster_ids, open_dataset
from lrcr.errors import DatasetError
from lrcr.features.extraction import sample_photos
from lrcr.models.factory import MODEL_SECTIONS
from lrcr.retrieval.asmk.index import Index
from lrcr.training import validation
from lrcr.training.descriptors import describe_globally
from lrcr.training.setup import Setup
from lrcr.training.tuples import training_set
from lrcr.training.validation import AsmkValidator, GlobalValidator, hold_out, make_validator
from lrcr.training.whitening import learn_whitening

from .small import make_setup, run, same, small
from .small import weights as read_weights

ASMK = (
    *("train.image_size=48", "train.validation.by=asmk", "train.validation.codebook.words=8"),
    *("train.validation.extract={image_size: 48, scales: [1.0], max_descriptors: 40}",),
    *("train.validation.codebook.images=10", "train.validation.codebook.max_descriptors=40"),
)


@pytest.fixture
def dataset(landmarks) -> Dataset:
    return open_dataset(landmarks)


def draw(tmp_path, draw_dataset, labels, **tables) -> Dataset:
    return open_dataset(draw_dataset(tmp_path / "drawn", [(16, 12)] * len(labels), labels, **tables))


@pytest.mark.parametrize("seed", range(4))
def test_held_out_landmarks_are_no_longer_trained_on(dataset, seed):
    kept, validation = hold_out(dataset, seed)
    training = training_set(dataset, kept)
    held = {photo.path for photo in validation.photos()}
    assert not held & {photo.path for photo in training.photos}
    assert len(held) + len(training.photos) == 16
    assert len(held) == 3 and validation.images["label"].nunique() == 1


def test_held_out_images_are_queries_for_each_other(dataset):
    _, validation = hold_out(dataset, 0)
    assert validation.query_photos() == validation.photos()
    graded = validation.relevance.pivot(index="query", columns="image", values="grade").to_numpy()
    assert (graded == np.where(np.eye(3, dtype=bool), "junk", "easy")).all()
    assert validation.pairs.empty


def test_the_seed_decides_what_is_held_out(dataset):
    first = [hold_out(dataset, seed)[0].tolist() for seed in range(12)]
    assert first == [hold_out(dataset, seed)[0].tolist() for seed in range(12)]
    assert len({tuple(kept) for kept in first}) > 1


def test_a_fifth_of_the_landmarks_is_held_out_and_single_images_never(tmp_path, draw_dataset):
    labels = [f"{i % 11}" for i in range(22)] + [None, "alone", None]
    dataset = draw(tmp_path, draw_dataset, labels)
    kept, validation = hold_out(dataset, 0)
    assert validation.images["label"].nunique() == 2 and len(validation.images) == 4
    ids = cluster_ids(dataset)
    assert set(ids[22:]) <= set(kept)


@pytest.mark.parametrize("labels", [[None, None], ["a", "a", "b"], [], ["a", "b", "c"]])
def test_fewer_than_two_landmarks_are_refused(tmp_path, draw_dataset, labels):
    dataset = draw(tmp_path, draw_dataset, labels)
    count = len({label for label in labels if labels.count(label) > 1} - {None})
    message = f"drawn: validation holds out landmarks, but {count} have two labelled images; label more photos"
    with pytest.raises(DatasetError, match=message):
        hold_out(dataset, 0)


@pytest.fixture
def setup(landmarks) -> Setup:
    """A model off the shelf."""
    params = small(*ASMK, "whitening.images=100", "whitening.max_descriptors=1000")
    setup = make_setup(params, landmarks)
    learn_whitening(setup.model, setup.maps, setup.images.photos, params.whitening, params.seed)
    return setup


def score(setup: Setup, dataset: Dataset, by: str) -> float:
    params = small(*ASMK, f"train.validation.by={by}")
    return make_validator(params.train.validation, setup, dataset).score()


@pytest.mark.parametrize(("by", "kind"), [("global", GlobalValidator), ("asmk", AsmkValidator)])
def test_photos_that_look_alike_score_far_above_chance(dataset, setup, by, kind):
    assert type(make_validator(small(f"train.validation.by={by}").train.validation, setup, dataset)) is kind
    setup.model.train()
    found = score(setup, dataset, by)
    assert not setup.model.training
    assert isinstance(found, float) and 50 < found <= 100
    assert score(setup, dataset, by) == found


@pytest.mark.parametrize("by", ["global", "asmk"])
def test_a_model_that_sees_nothing_scores_less(dataset, setup, by):
    seeing = score(setup, dataset, by)
    with torch.no_grad():
        for parameter in setup.model.backbone.parameters():
            parameter.zero_()
    assert score(setup, dataset, by) < seeing - 20


def average_precision(ranked: list[bool]) -> float:
    """Trapezoidal, of a ranking of images that are positive or not, in percent."""
    ranks = [rank for rank, positive in enumerate(ranked) if positive]
    areas = [(i / rank if rank else 1) + (i + 1) / (rank + 1) for i, rank in enumerate(ranks)]
    return 100 * sum(areas) / 2 / len(ranks)


def test_the_score_of_global_descriptors_against_the_definition(dataset, setup):
    with torch.no_grad():
        for parameter in setup.model.backbone.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    vectors = describe_globally(setup.model.eval(), setup.maps, dataset.photos()).numpy()
    labels = [f"landmark {i % 5}" for i in range(15)] + [None]
    expected = []
    for query in range(15):
        ranked = [labels[i] for i in np.argsort(-vectors @ vectors[query], kind="stable") if i != query]
        expected.append(average_precision([label == labels[query] for label in ranked]))
    assert 20 < np.mean(expected) < 95
    assert score(setup, dataset, "global") == pytest.approx(np.mean(expected), abs=0.5)


@pytest.fixture
def used(monkeypatch) -> dict[str, Any]:
    """The settings that validation by ASMK hands on, from now on."""
    used: dict[str, Any] = {"extract": [], "assignment": []}
    extract, learn, aggregate, search = (
        validation.describe_locally,
        validation.learn_codebook,
        validation.aggregate_images,
        Index.search,
    )

    def extract_photos(model, maps, photos, scales, count):
        used["extract"].append((photos, maps.image_size, scales, count))
        return extract(model, maps, photos, scales, count)

    def learn_codebook(descriptors, words, *, gpu, **settings):
        used["codebook"] = {"words": words, "descriptors": len(descriptors), **settings}
        return learn(descriptors, words, gpu=gpu, **settings)

    def aggregate_images(described, codebook, assignment, *, binary):
        used["assignment"].append((assignment, binary))
        return aggregate(described, codebook, assignment, binary=binary)

    def search_index(self, queries, **settings):
        used["search"] = settings
        return search(self, queries, **settings)

    for place, name, function in (
        (validation, "describe_locally", extract_photos),
        (validation, "learn_codebook", learn_codebook),
        (validation, "aggregate_images", aggregate_images),
        (Index, "search", search_index),
    ):
        monkeypatch.setattr(place, name, function)
    return used


def settings_used(used: dict[str, Any], setup: Setup, dataset: Dataset, *overrides: str) -> dict[str, Any]:
    """What a validation hands on under other params."""
    used.update(extract=[], assignment=[])
    make_validator(small(*ASMK, *overrides).train.validation, setup, dataset).score()
    return dict(used)


def test_asmk_is_measured_as_its_section_says(dataset, setup, used):
    overrides = (
        "train.validation.extract={image_size: 40, scales: [1.0, 0.5], max_descriptors: 30}",
        "train.validation.codebook={words: 6, per_word: 39, images: 9, scales: [0.7], max_descriptors: 35}",
        *("train.validation.codebook.iterations=3", "train.validation.codebook.seed=4"),
        "train.validation.search={multiple_assignment: 2, alpha: 2.5, tau: 0.1, idf: true}",
    )
    setup.images = training_set(dataset, cluster_ids(dataset)[:12])
    fit = sample_photos(setup.images.photos, 9, setup.seed)
    assert settings_used(used, setup, dataset, *overrides) == {
        "extract": [
            (fit, 40, [0.7], 35),
            (list(dict.fromkeys(dataset.photos() + dataset.query_photos())), 40, [1.0, 0.5], 30),
        ],
        "codebook": {"words": 6, "descriptors": 6 * 39, "iterations": 3, "seed": 4, "exact": False},
        "assignment": [(1, True), (2, True)],
        "search": {"alpha": 2.5, "tau": 0.1, "idf": True, "top": None},
    }


def test_the_score_of_several_codebooks_is_the_mean_over_their_seeds(dataset, setup):
    def score(*overrides: str) -> float:
        overrides = (*ASMK, "train.validation.codebook={words: 6, per_word: 39}", *overrides)
        return make_validator(small(*overrides).train.validation, setup, dataset).score()

    single = [score(f"train.validation.codebook.seed={seed}") for seed in (4, 5)]
    assert single[0] != single[1]
    both = score("train.validation.codebook.seed=4", "train.validation.codebooks=2")
    assert both == pytest.approx(sum(single) / 2, rel=1e-12)


def other_values(name: str, section: type[Section]) -> Iterator[str]:
    """An override of each key of a section that validation by ASMK reads."""
    given = {
        "image_size": 24,
        "scales": [0.5],
        "max_descriptors": 15,
        "words": 5,
        "per_word": 40,
        "images": 6,
        "iterations": 2,
        "seed": 1,
        "multiple_assignment": 3,
        "alpha": 1.5,
        "tau": 0.3,
        "idf": "true",
    }
    for key in section.model_fields:
        yield f"train.validation.{name}.{key}={given[key]}"


EACH = [
    *other_values("extract", ValidationExtract),
    *other_values("codebook", ValidationCodebook),
    *other_values("search", ValidationSearch),
]


def test_every_key_of_its_section_changes_what_is_measured(dataset, setup, used):
    usual = settings_used(used, setup, dataset)
    assert settings_used(used, setup, dataset) == usual
    for override in EACH:
        assert settings_used(used, setup, dataset, override) != usual, override
        changed = small(*ASMK, override).sections(*MODEL_SECTIONS)
        assert changed != small(*ASMK).sections(*MODEL_SECTIONS), "the model's fingerprint knows"


def test_the_sections_of_the_later_steps_change_nothing(tmp_path, landmarks, pretrained):
    later = (
        "extract={image_size: 16, scales: [0.5], max_descriptors: 3}",
        "codebook={words: 2, images: 1, scales: [0.5], max_descriptors: 2, iterations: 1, seed: 5, per_word: 39}",
        "index={multiple_assignment: 2, binary: false}",
        "search={multiple_assignment: 1, alpha: 1.0, tau: 0.9, idf: true, top: 1}",
    )
    weights = f"backbone.weights={pretrained}"
    found: list[tuple[Params, list[dict[str, float]], Path]] = []
    for name, overrides in (("usual", ()), ("later", later)):
        params, file = small(*ASMK, weights, "train.tuples.learning_rates.backbone=0.1", *overrides), tmp_path / name
        found.append((params, run(params, landmarks, file, landmarks), file))
    (usual, logged, file), (other, logged_again, again) = found
    assert logged == logged_again and logged[0]["validation_map"] != 100
    assert same(read_weights(file), read_weights(again))
    assert usual.sections(*MODEL_SECTIONS) == other.sections(*MODEL_SECTIONS)


def test_a_validation_set_without_queries_is_refused(tmp_path, draw_dataset, setup):
    dataset = draw(tmp_path, draw_dataset, [None, None])
    for by in ("global", "asmk"):
        with pytest.raises(DatasetError) as error:
            score(setup, dataset, by)
        assert str(error.value) == "drawn: has no queries; give it labels or a ground truth, or unset data.val"


def test_queries_without_positives_are_refused(tmp_path, draw_dataset, dataset, setup):
    without = dataset.relevance[dataset.relevance["grade"] == "junk"]
    labels = [f"landmark {i % 5}" for i in range(15)] + [None]
    blank = draw(tmp_path, draw_dataset, labels, relevance=without)
    for by in ("global", "asmk"):
        with pytest.raises(DatasetError) as error:
            score(setup, blank, by)
        assert str(error.value) == "drawn: no query has a positive; grade some images easy or hard"


def test_held_out_images_in_an_archive_are_read_from_it(tmp_path, draw_dataset):
    dataset = draw(tmp_path, draw_dataset, ["a", "a", "b", "b"])
    places = {"archive": "x.tar", "offset": [512, 1536, 2560, 3584], "bytes": 100}
    _, validation = hold_out(replace(dataset, images=dataset.images.assign(**places)), 0)
    assert validation.query_photos() == validation.photos()
    assert isinstance(validation.photos()[0].path, ArchivedImage)
