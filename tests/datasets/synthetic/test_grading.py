"""The grade of one view for another, by hand."""

import numpy as np
import pytest

from lrcr.datasets.synthetic.grading import angle, grade, overlap, scale_ratio

from .scenes import board, camera_at, measure, view

FULL, HALF, TENTH = np.arange(100) < 100, np.arange(100) < 50, np.arange(100) < 10


def test_overlap_is_one_for_the_same_view_and_zero_for_opposite_halves():
    wall = board(-5, 0, 10, 8, 0)
    left = camera_at((0, 4, 14), (0, 4, 0), focal=600.0, centre=(390.0, 90.0))
    right = camera_at((0, 4, 14), (0, 4, 0), focal=600.0, centre=(-150.0, 90.0))
    views = [view(measure([wall], camera)[0]) for camera in (left, right)]
    assert all(seen.visible.any() and not seen.visible.all() for seen in views)
    assert overlap(views[0], views[0]) == 1.0
    assert overlap(views[0], views[1]) == 0.0


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (view(FULL), "easy"),
        (view(HALF), "hard"),
        (view(TENTH), "junk"),
        (view(~FULL), "junk"),
        (view(FULL, degrees=27), "easy"),
        (view(FULL, degrees=-29), "hard"),
        (view(FULL, scale=38), "easy"),
        (view(FULL, scale=9), "hard"),
        (view(FULL, scale=80), "junk"),
        (view(FULL, night=True), "hard"),
        (view(FULL, clarity=0.4), "hard"),
        (view(FULL, clarity=0.1), "junk"),
    ],
)
def test_grade(other, expected):
    assert grade(view(FULL), other) == expected


def test_angle_is_between_the_viewing_directions():
    assert angle(view(FULL, degrees=-10), view(FULL, degrees=25)) == pytest.approx(35)


def test_a_view_of_a_detail_is_easy_to_match_with_the_whole_but_not_the_reverse():
    whole, detail = view(FULL), view(TENTH, scale=30)
    assert (grade(detail, whole), grade(whole, detail)) == ("easy", "junk")
    assert scale_ratio(detail, whole) == pytest.approx(1.5)
    assert scale_ratio(view(TENTH), view(~TENTH)) == float("inf")
