"""Small random databases and the way from descriptors to an open index."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lrcr.retrieval.asmk.aggregation import aggregate
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout

DIMS = [1, 31, 48, 64, 100, 128, 150, 200, 300]


@dataclass
class Batch:
    descriptors: np.ndarray
    offsets: np.ndarray

    @property
    def parts(self):
        """The same images, each as a batch of its own."""
        return [Batch(self.descriptors[a:b], np.array([0, b - a])) for a, b in pairwise(self.offsets)]


def draw_centroids(rng, words, dim):
    return rng.normal(size=(words, dim)).astype(np.float32)


def draw_batch(rng, centroids, images, most=8):
    """Images of 0 to `most` descriptors near centroids; a fifth of them lie exactly on one (a residual of zero)."""
    offsets = np.append(0, np.cumsum(rng.integers(0, most + 1, images))).astype(np.int64)
    near = centroids[rng.integers(0, len(centroids), offsets[-1])]
    noise = rng.normal(size=near.shape) * (rng.random((len(near), 1)) > 0.2)
    return Batch((near + 0.5 * noise).astype(np.float32), offsets)


def postings(batch, centroids, assignment=1, binary=True):
    words = Codebook(centroids).assign(batch.descriptors, assignment)
    return aggregate(batch.descriptors, words, batch.offsets, centroids, binary=binary)


def layout_of(centroids, binary=True, packed=False):
    return Layout(len(centroids), centroids.shape[1], binary, packed)


def build(folder, parts, centroids, binary=True, packed=False, **options):
    layout = layout_of(centroids, binary, packed)
    build_index(folder, parts, layout, params={"index": {}}, inputs={"codebook": "c"}, **options)
    return open_index(folder)


def as_matrix(result, images):
    """Complete rankings as scores of shape (queries, images)."""
    ids, scores, offsets = result
    matrix = np.full((len(offsets) - 1, images), np.nan)
    matrix[np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), ids] = scores
    return matrix
