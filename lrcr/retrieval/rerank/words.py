"""Expansion of ASMK: the words of verified images are added to those of the query, and the list is scored again."""

from dataclasses import dataclass

import numpy as np

from lrcr.config.rerank import WordsParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.expansion import expand_postings
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.rerank.reranker import Images, rank_by, score_images


@dataclass(frozen=True)
class WordExpansion:
    """Ranks again by expanded queries; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        index: of local descriptors.
        verifier: finds the inliers of query and image.
        params: of the step.
    """

    index: OpenIndex
    verifier: Geometric
    params: WordsParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Score the images of each query again; raises as `Reranker.rerank`.

        The list of a query without a verified image stays as it is.
        """
        images, scores = [], []
        for query in range(len(queries)):
            found, score = ranking.of_query(query)
            verified = self._verified(queries, query, found[: self.params.images])
            if len(verified):
                asked = self.index.prepare(queries.take([query]))
                expanded = expand_postings(asked, self.index.postings(verified), self.params.agreeing)
                found, score = rank_by(found, score_images(self.index, expanded, found))
            images.append(found)
            scores.append(score)
        return Ranking.from_queries(images, scores)

    def _verified(self, queries: Descriptors, query: int, images: Images) -> Images:
        """Those of the images that have enough inliers."""
        database = self.verifier.database
        keypoints = database.of_query(queries, query)
        counts = [len(self.verifier.verify(keypoints, database.of_image(int(image)))[0]) for image in images]
        return images[np.array(counts, np.int64) >= self.params.min_inliers]
