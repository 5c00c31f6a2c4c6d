import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrcr.data.dataset import Photo
from lrcr.errors import DatasetError
from lrcr.training import confusion
from lrcr.training.confusion import draw_tuples, predict_classes
from lrcr.training.tuples import TrainingSet


def photos_of(clusters: list[int]) -> TrainingSet:
    return TrainingSet([Photo(path=None) for _ in clusters], np.array(clusters), np.empty((0, 2), np.int64))


@pytest.mark.parametrize("chunk", [2, 1024])
def test_the_predicted_class_has_the_highest_cosine(monkeypatch, chunk):
    monkeypatch.setattr(confusion, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    vectors, weights = torch.randn(7, 5, generator=generator), torch.randn(4, 5, generator=generator)
    cosines = [[float(torch.cosine_similarity(vector, weight, dim=0)) for weight in weights] for vector in vectors]
    assert predict_classes(vectors, weights).tolist() == np.argmax(cosines, axis=1).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=10, max_size=40), st.integers(1, 50), st.integers(0, 100))
def test_tuples_have_an_anchor_a_positive_and_six_other_negatives(clusters, count, seed):
    images = photos_of(clusters)
    _, classes = np.unique(images.clusters, return_inverse=True)
    sizes = np.bincount(classes)
    assume(sizes.max() > 1 and len(classes) - sizes.max() >= 6)
    predicted = np.random.default_rng(seed).integers(0, len(sizes), len(classes))
    tuples = draw_tuples(images, classes, predicted, count, 6, np.random.default_rng(seed))
    able = [image for image, own in enumerate(classes) if sizes[own] > 1]
    assert tuples.shape == (min(count, len(able)), 8)
    assert len(set(tuples[:, 0])) == len(tuples) and set(tuples[:, 0]) <= set(able)
    for anchor, positive, *negatives in tuples:
        assert anchor != positive and classes[anchor] == classes[positive]
        assert len(set(negatives)) == 6 and classes[anchor] not in classes[negatives]
    again = draw_tuples(images, classes, predicted, count, 6, np.random.default_rng(seed))
    np.testing.assert_array_equal(tuples, again)


def shares_of_negatives(correct: bool) -> dict[str, float]:
    """From where the negatives of anchors of class 0 come; those that are wrong are taken for class 1."""
    classes = np.repeat(np.arange(50), 20)
    predicted = classes.copy()
    predicted[42:242:20] = 0  # one image each of ten other classes
    predicted[:20] = 0 if correct else 1
    pairs = np.stack([np.arange(20), np.roll(np.arange(20), 1)], axis=1)
    images = TrainingSet(photos_of(classes).photos, classes, pairs)
    tuples = [draw_tuples(images, classes, predicted, 20, 6, np.random.default_rng(seed)) for seed in range(40)]
    negatives = np.concatenate(tuples)[:, 2:].ravel()
    assert len(negatives) == 40 * 20 * 6
    false, confused = (predicted[negatives] == 0) & (classes[negatives] != 0), classes[negatives] == 1
    return {"false positives": false.mean(), "class 1": confused.mean(), "random": (~false & ~confused).mean()}


def test_half_of_the_negatives_of_a_correct_anchor_are_false_positives_of_its_class():
    shares = shares_of_negatives(correct=True)
    assert shares["false positives"] == pytest.approx(1 / 2, abs=0.02)
    assert shares["class 1"] == pytest.approx(1 / 98, abs=0.01), "as of any other class"


def test_a_third_of_the_negatives_of_a_wrong_anchor_are_each_of_both_kinds_of_confusion():
    shares = shares_of_negatives(correct=False)
    assert shares["false positives"] == pytest.approx(1 / 3, abs=0.02)
    assert shares["class 1"] == pytest.approx(1 / 3, abs=0.02)
    assert shares["random"] == pytest.approx(1 / 3, abs=0.02)


def test_without_confusion_the_classes_of_the_negatives_are_equally_likely():
    classes = np.array([0] * 2 + [1] * 40 + [2] * 10 + [3] * 10)
    rngs, images = map(np.random.default_rng, range(80)), photos_of(classes)
    joined = np.concatenate([draw_tuples(images, classes, classes, 62, 1, rng) for rng in rngs])
    negatives = classes[joined[classes[joined[:, 0]] == 0, 2]]
    assert np.bincount(negatives, minlength=4)[1:] / len(negatives) == pytest.approx([1 / 3] * 3, abs=0.12)


def test_without_two_images_of_a_class_there_are_no_tuples():
    images = photos_of([0, 1, 2])
    with pytest.raises(DatasetError, match="no two images share a label"):
        draw_tuples(images, images.clusters, images.clusters, 5, 1, np.random.default_rng(0))


def test_too_few_images_of_other_classes_are_refused():
    images = photos_of([0, 0, 0, 1, 1, 2, 2, 2])
    with pytest.raises(DatasetError) as error:
        draw_tuples(images, images.clusters, images.clusters, 5, 6, np.random.default_rng(0))
    assert str(error.value) == (
        "training: 6 negatives need as many images of other landmarks, there are 5; add landmarks"
    )
