"""A seed of its own for each random draw, from the one seed of the params."""

from typing import Any

import numpy as np

from lrcr.storage.artifacts import fingerprint


def derive_seed(seed: int, *path: Any) -> int:
    """A seed of its own for each use, from the one seed of the params: `derive_seed(0, "tuples", epoch)`."""
    return int(fingerprint(seed, *path)[:15], 16)


def generator(seed: int, *path: Any) -> np.random.Generator:
    """A numpy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *path))
