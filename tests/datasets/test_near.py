import time

import numpy as np
import pytest

from lrcr.datasets.near import nearest_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("church/0.jgp", "church/0.jpg"),
        ("Church/0.JPG", "church/0.jpg"),
        ("church/00.jpg", "church/0.jpg"),
        ("étage.png", "etage.png"),
        ("a", "ab"),
        ("nothing of the kind", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_found(name, expected):
    names = ["church/0.jpg", "tower/0.jpg", "etage.png", "ab", "photo\n1.jpg"]
    assert nearest_name(name, names) == expected
    assert nearest_name(name, []) is None


def test_among_many_names_it_is_found_at_once():
    numbers = np.random.default_rng(0).permutation(20_000)
    names = [f"holiday {number // 700}/photo_{number:06}.jpg" for number in numbers]
    start = time.process_time()
    assert nearest_name("holiday 17/photo_12345.jpg", names) == "holiday 17/photo_012345.jpg"
    assert time.process_time() - start < 0.2
