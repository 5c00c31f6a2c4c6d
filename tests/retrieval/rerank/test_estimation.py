"""Inliers of drawn transformations among drawn outliers."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from lrcr.retrieval.rerank.estimation import find_inliers

AFFINE = np.array([[0.9, -0.3, 40], [0.2, 1.1, -25], [0, 0, 1]])
PERSPECTIVE = np.array([[0.9, -0.3, 40], [0.2, 1.1, -25], [4e-4, -3e-4, 1]])


def draw(matrix: np.ndarray, inliers: int, outliers: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    a = rng.uniform(0, 600, (inliers + outliers, 2))
    moved = np.column_stack([a, np.ones(len(a))]) @ matrix.T
    b = moved[:, :2] / moved[:, 2:] + rng.normal(0, noise, a.shape)
    b[inliers:] = rng.uniform(0, 600, (outliers, 2))
    return a, b


@pytest.mark.parametrize(("matrix", "name"), [(AFFINE, "affine"), (AFFINE, "homography"), (PERSPECTIVE, "homography")])
@pytest.mark.parametrize("outliers", [0, 20, 80])
def test_inliers_are_found_among_outliers(matrix, name, outliers):
    found = find_inliers(*draw(matrix, 40, outliers), name, 4.0)
    assert found[:40].all()
    assert found[40:].sum() <= 0.05 * outliers


def test_a_perspective_view_has_more_inliers_of_a_homography():
    a, b = draw(PERSPECTIVE, 60, 20)
    affine, homography = (find_inliers(a, b, name, 3.0).sum() for name in ("affine", "homography"))
    assert affine < homography


@pytest.mark.parametrize(("name", "fewest"), [("affine", 3), ("homography", 4)])
def test_as_many_matches_as_define_a_transformation_prove_nothing(name, fewest):
    for count in range(fewest + 1):
        assert not find_inliers(*draw(AFFINE, count, 0), name, 4.0).any()
    assert find_inliers(*draw(AFFINE, fewest + 5, 0, noise=0), name, 4.0).all()


@pytest.mark.parametrize("name", ["affine", "homography"])
def test_equal_points_and_lines_are_no_error(name):
    for points in (np.ones((20, 2)), np.column_stack([np.arange(20), np.arange(20)])):
        assert find_inliers(points.astype(float), points.astype(float), name, 1.0).shape == (20,)


@pytest.mark.parametrize("name", ["affine", "homography"])
def test_a_pair_has_one_result(name):
    """Whatever was estimated before, and on however many threads."""
    import cv2

    a, b = draw(PERSPECTIVE, 12, 60, noise=3)
    threads, found = cv2.getNumThreads(), []
    try:
        for number in (1, 2, 4):
            cv2.setNumThreads(number)
            find_inliers(b, a, name, 2.0)
            found.append(find_inliers(a, b, name, 4.0))
    finally:
        cv2.setNumThreads(threads)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
