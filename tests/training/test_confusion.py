import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrcr.data.dataset import Photo
from lrcr.errors import DatasetError
from lrcr.training import confusion
from lrcr.training.confusion import confused_classes, draw_tuples
from lrcr.training.tuples import TrainingSet


def draw(images: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors, their classes and the classifier's weights; some class may have no image."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(images, 5, generator=generator, dtype=torch.float64)
    weights = torch.randn(classes, 5, generator=generator, dtype=torch.float64)
    return vectors, torch.randint(classes, (images,), generator=generator), weights


def by_definition(vectors: np.ndarray, classes: np.ndarray, weights: np.ndarray, count: int) -> list[list[int]]:
    """Class by class, image by image."""

    def mean_cosine(a: int, b: int) -> float:
        found = [
            x @ weights[b] / np.linalg.norm(x) / np.linalg.norm(weights[b])
            for x, own in zip(vectors, classes, strict=True)
            if own == a
        ]
        return float(np.mean(found)) if found else 0.0

    rows = []
    for a in range(len(weights)):
        others = [b for b in sorted(set(classes.tolist())) if b != a]
        rows.append(sorted(others, key=lambda b: -(mean_cosine(a, b) + mean_cosine(b, a)))[:count])
    return rows


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(2, 8), st.integers(1, 4), st.sampled_from([2, 1024]), st.integers(0, 100))
def test_confused_classes_against_the_definition(images, classes, count, chunk, seed):
    vectors, of_image, weights = draw(images, classes, seed)
    present = len(set(of_image.tolist()))
    if present <= count:
        with pytest.raises(DatasetError, match=rf"{count} negatives need {count + 1} landmarks, there are {present}"):
            confused_classes(vectors, of_image, weights, count)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "_CHUNK", chunk)
        found = confused_classes(vectors, of_image, weights, count)
    np.testing.assert_array_equal(found, by_definition(vectors.numpy(), of_image.numpy(), weights.numpy(), count))


def test_confusion_counts_in_both_directions():
    weights = torch.eye(4)
    vectors = torch.stack([weights[0], weights[1] + 0.9 * weights[0], weights[2], weights[3] + 0.5 * weights[0]])
    found = confused_classes(vectors, torch.arange(4), weights, 2)
    assert found[0].tolist() == [1, 3], "their images look like class 0, not those of class 0 like them"
    assert found[1, 0] == 0 and found[3, 0] == 0


def photos_of(clusters: list[int]) -> TrainingSet:
    return TrainingSet([Photo(path=None) for _ in clusters], np.array(clusters), np.empty((0, 2), np.int64))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=10, max_size=40), st.integers(1, 50), st.integers(0, 100))
def test_tuples_have_an_anchor_a_positive_and_negatives_of_the_confused_classes(clusters, count, seed):
    images = photos_of(clusters)
    _, classes = np.unique(images.clusters, return_inverse=True)
    total = classes.max() + 1
    assume(7 <= total < len(clusters))
    vectors, _, weights = draw(len(clusters), total, seed)
    confused = confused_classes(vectors, torch.from_numpy(classes), weights, 6)
    tuples = draw_tuples(images, classes, confused, count, np.random.default_rng(seed))
    able = [image for image, own in enumerate(classes) if (classes == own).sum() > 1]
    assert tuples.shape == (min(count, len(able)), 8)
    assert len(set(tuples[:, 0])) == len(tuples) and set(tuples[:, 0]) <= set(able)
    for anchor, positive, *negatives in tuples:
        assert anchor != positive and classes[anchor] == classes[positive]
        assert classes[negatives].tolist() == confused[classes[anchor]].tolist()
        assert len({classes[anchor], *classes[negatives]}) == 7
    again = draw_tuples(images, classes, confused, count, np.random.default_rng(seed))
    np.testing.assert_array_equal(tuples, again)


def test_every_image_of_a_confused_class_is_drawn_at_times():
    images = photos_of([0, 0, 1, 1, 1, 2])
    confused = np.array([[1, 2], [0, 2], [0, 1]])
    drawn = [draw_tuples(images, images.clusters, confused, 9, np.random.default_rng(seed)) for seed in range(40)]
    seen = {tuple(row[2:]) for rows in drawn for row in rows.tolist() if row[0] in (0, 1)}
    assert seen == {(2, 5), (3, 5), (4, 5)}
    assert not any((rows[:, 0] == 5).any() for rows in drawn), "a class of one image has no anchor"


def test_without_two_images_of_a_class_there_are_no_tuples():
    images = photos_of([0, 1, 2])
    with pytest.raises(DatasetError, match="no two images share a label"):
        draw_tuples(images, images.clusters, np.array([[1], [0], [0]]), 5, np.random.default_rng(0))
