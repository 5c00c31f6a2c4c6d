"""A separate seed for each random draw, derived from the seed of the params."""

from typing import Any

import numpy as np

from lrcr.storage.artifacts import fingerprint


def derive_seed(seed: int, *path: Any) -> int:
    """A separate seed for each purpose, derived from the seed of the params: `derive_seed(0, "tuples", epoch)`."""
    return int(fingerprint(seed, *path)[:15], 16)


def generator(seed: int, *path: Any) -> np.random.Generator:
    """A numpy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *path))
