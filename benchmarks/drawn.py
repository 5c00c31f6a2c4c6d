"""Drawn postings: images with distinct visual words and random sign bits."""

import numpy as np
import numpy.typing as npt

from lrcr.asmk.aggregation import Aggregated, columns


def draw_images(
    rng: np.random.Generator, images: int, per_image: int, words: int, dim: int, *, skew: float = 0.0
) -> Aggregated:
    """Images of `per_image` different words each.

    Args:
        skew: word w is drawn with a probability in proportion to (w + 1)^-skew; 0 draws all alike.
    """
    drawn = np.concatenate([_draw_words(rng, per_image, words, skew) for _ in range(images)])
    vectors = rng.integers(0, 2**64, (len(drawn), columns(dim, binary=True)), np.uint64)
    owners = np.repeat(np.arange(images, dtype=np.uint32), per_image)
    return Aggregated(drawn, owners, vectors, images, dim)


def _draw_words(rng: np.random.Generator, count: int, words: int, skew: float) -> npt.NDArray[np.int32]:
    """`count` different words, ascending; those drawn twice are drawn again."""
    found = np.empty(0, np.int64)
    while len(found) < count:
        share = rng.random(2 * count)
        # The inverse of the distribution function of a density in proportion to x^-skew on [1, words + 1].
        power = 1 - skew
        more = ((share * ((words + 1) ** power - 1) + 1) ** (1 / power)).astype(np.int64) - 1
        _, first = np.unique(np.concatenate([found, more]), return_index=True)
        found = np.concatenate([found, more])[np.sort(first)]
    return np.sort(found[:count]).astype(np.int32)
