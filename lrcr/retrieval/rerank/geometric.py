"""Geometric verification (Philbin et al., CVPR 2007): matches that agree on a transformation raise an image.

The score of an image is multiplied by (1 + inliers) to the power of `exponent`. With `exponent: null` images are sorted
by inliers instead: the score is their number, plus a fraction below 1 by which images with as many inliers keep their
order. The images behind the first ones keep their scores.
"""

from dataclasses import dataclass

import numpy as np

from lrcr.config.rerank import GeometricParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.local_encoder import Keypoints
from lrcr.retrieval.rerank.estimation import find_inliers
from lrcr.retrieval.rerank.matching import match
from lrcr.retrieval.rerank.nearest import Rows
from lrcr.retrieval.rerank.reranker import Scores, raise_above, rank_by

_MIN_SIMILARITY, _MIN_SIMILARITY_OF_CODES = 0.5, 0.6
"""With codes the cosine is an estimate, and a wrong match reaches 0.5 more often."""


@dataclass(frozen=True, eq=False)
class Inlier:
    """A match that agrees with the transformation: a row of the query's descriptors and one of the image's.

    Args:
        query: of shape (1,).
        image: of shape (1,).
        contribution: 1, because each counts the same.
    """

    query: Rows
    image: Rows
    contribution: float = 1.0


@dataclass(frozen=True)
class Geometric:
    """Ranks the first images again; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        database: the local descriptors of the index.
        params: of the step.
    """

    database: LocalDescriptors
    params: GeometricParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Verify the first `top` images of each query; raises as `Reranker.rerank`."""
        top, images, scores = self.params.top, [], []
        for query in range(len(queries)):
            found, first_scores = ranking.of_query(query)
            keypoints, first = self.database.of_query(queries, query), found[:top]
            inliers = [len(self.verify(keypoints, self.database.of_image(int(image)))[0]) for image in first]
            order, score = rank_by(first, self._score(np.array(inliers, np.int64), first_scores))
            images.append(np.append(order, found[top:]))
            scores.append(np.append(score, first_scores[top:]))
        return Ranking.from_queries(images, scores)

    def _score(self, inliers: Rows, first_scores: Scores) -> Scores:
        """The scores of the first images, none of which is below the others."""
        count, exponent = len(inliers), self.params.exponent
        if exponent is None:
            places = np.arange(count, 0, -1) / (count + 1)
            return raise_above(inliers + places, first_scores[count:])
        factor, scores = (1.0 + inliers) ** exponent, first_scores[:count].astype(np.float64)
        return np.where(scores > 0, scores * factor, scores / factor)

    def verify(self, query: Keypoints, image: Keypoints) -> tuple[Rows, Rows]:
        """The rows of the query's descriptors that are inliers, and the matching rows of the image's."""
        params, bits = self.params, self.database.bits
        default = _MIN_SIMILARITY if bits is None else _MIN_SIMILARITY_OF_CODES
        similarity = default if params.min_similarity is None else params.min_similarity
        rows, others = match(query.descriptors, image.descriptors, similarity, params.ratio, bits)
        tolerance = params.tolerance * float(np.ptp(image.xy, axis=0).max()) if len(rows) else 0.0
        inliers = find_inliers(query.xy[rows], image.xy[others], params.transformation, tolerance)
        return rows[inliers], others[inliers]
