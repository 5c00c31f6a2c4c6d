import numpy as np

from lrcr.runtime.seeds import derive_seed, generator


def test_the_seeds_are_those_of_recorded_runs():
    """Results that were recorded with these seeds can be made again only while they stay as they are."""
    assert derive_seed(0, "tuples", 1) == 1130525593452065722
    assert derive_seed(7) == 399131326603928238
    assert derive_seed(0, "codebook") == 122010808127530866


def test_each_use_has_a_seed_of_its_own():
    paths = [(), ("a",), ("b",), ("a", 1), ("a", 2), ("a", "1"), (1, "a")]
    assert len({derive_seed(seed, *path) for seed in (0, 1) for path in paths}) == 2 * len(paths)


def test_a_generator_draws_by_its_seed():
    expected = np.random.default_rng(derive_seed(3, "x")).random(5)
    np.testing.assert_array_equal(generator(3, "x").random(5), expected)
    assert not np.array_equal(generator(3, "y").random(5), expected)
