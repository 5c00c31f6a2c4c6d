"""Geometric verification (Philbin et al., CVPR 2007): images are sorted by the matches that agree on a transformation.

The score of an image is its number of inliers, plus a fraction below 1 by which images with as many inliers keep the
order that they had. The images behind the first ones keep their scores.
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
from lrcr.retrieval.rerank.reranker import raise_above, rank_by

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
            places = np.arange(len(first), 0, -1) / (len(first) + 1)
            order, score = rank_by(first, raise_above(np.array(inliers) + places, first_scores[top:]))
            images.append(np.append(order, found[top:]))
            scores.append(np.append(score, first_scores[top:]))
        return Ranking.from_queries(images, scores)

    def verify(self, query: Keypoints, image: Keypoints) -> tuple[Rows, Rows]:
        """The rows of the query's descriptors that are inliers, and the matching rows of the image's."""
        params, bits = self.params, self.database.bits
        default = _MIN_SIMILARITY if bits is None else _MIN_SIMILARITY_OF_CODES
        similarity = default if params.min_similarity is None else params.min_similarity
        rows, others = match(query.descriptors, image.descriptors, similarity, params.ratio, bits)
        tolerance = params.tolerance * float(np.ptp(image.xy, axis=0).max()) if len(rows) else 0.0
        inliers = find_inliers(query.xy[rows], image.xy[others], params.transformation, tolerance)
        return rows[inliers], others[inliers]
