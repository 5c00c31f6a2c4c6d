"""Random postings: images with distinct visual words and random sign bits."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import Aggregated, columns


def draw_images(
    rng: np.random.Generator, images: int, per_image: int, words: int, dim: int, *, skew: float = 0.0
) -> Aggregated:
    """Draw images of `per_image` different words each.

    Args:
        skew: below 1. Word w is drawn with a density proportional to (w + 1)^-skew; 0 draws all words uniformly.
    """
    found = np.empty((images, per_image), np.int32)
    _draw_words(rng.random((images, 2 * per_image), np.float32), words, 1 - skew, found)
    vectors = rng.integers(0, 2**64, (images * per_image, columns(dim, binary=True)), np.uint64)
    owners = np.repeat(np.arange(images, dtype=np.uint32), per_image)
    return Aggregated(found.ravel(), owners, vectors, images, dim)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _draw_words(shares: npt.NDArray[np.float32], words: int, power: float, found: npt.NDArray[Any]) -> None:
    """Fill each row of `found` with different words in ascending order.

    When the random numbers of a row are used up, the next free words are taken.
    """
    last = np.full(words, -1, np.int64)
    for image in range(len(found)):
        drawn, share, word = 0, 0, 0
        while drawn < found.shape[1]:
            if share < shares.shape[1]:
                # The inverse of the distribution function of a density proportional to x^-skew on [1, words + 1].
                place = (shares[image, share] * ((words + 1) ** power - 1) + 1) ** (1 / power)
                word = min(int(place) - 1, words - 1)
                share += 1
            else:
                word = (word + 1) % words
            if last[word] != image:
                last[word] = image
                found[image, drawn] = word
                drawn += 1
        found[image].sort()
