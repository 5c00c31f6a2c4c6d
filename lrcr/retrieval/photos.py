"""Search with photos: a query photo is described with the model of the index, and hits are explained by locations."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.config.steps import owning
from lrcr.data.dataset import Photo
from lrcr.data.decoding import ImageFile
from lrcr.data.ranking import Ranking
from lrcr.data.versions import versions_of
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.hloc import hash_features
from lrcr.features.store import Descriptors
from lrcr.retrieval.hits import Contents, Explanation, Hit
from lrcr.retrieval.own.images import features_of
from lrcr.retrieval.rerank.geometric import Inlier
from lrcr.retrieval.rerank.reranker import rerank_in_steps
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.sharded.searcher import ShardedSearcher
from lrcr.runtime.imports import quick_imports

if TYPE_CHECKING:
    from lrcr.features.extractor import Extractor


class PhotoIndex:
    """An index that is searched with photos.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.
        photos: where the photos are now, if they were moved (`lrcr.retrieval.images.choose_roots`).
        rerank: steps that rank the results again.
        shards: number of processes that search the index (`lrcr.retrieval.sharded.searcher`); 1: this one alone.
        allow_partial: whether a search answers without the processes that have ended; each hit tells how many images
            were not searched.

    Attributes:
        searcher: the open index and the table of its images.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
        ParamsError: `photos` are not as many folders as those of the index, or a step of re-ranking needs what the
            index does not hold.
    """

    def __init__(
        self,
        folder: Path,
        search: SearchParams | None = None,
        photos: Sequence[Path] = (),
        rerank: Sequence[RerankParams] = (),
        *,
        shards: int = 1,
        allow_partial: bool = False,
    ) -> None:
        if shards == 1:
            self.searcher = Searcher(folder, search, photos, rerank)
        else:
            self.searcher = ShardedSearcher(folder, search, photos, rerank, shards=shards, partial=allow_partial)

    def __len__(self) -> int:
        """The number of images."""
        return self.searcher.index.images

    @property
    def summary(self) -> str:
        """The size of the index, as a text."""
        return self.searcher.summary

    @property
    def explains(self) -> bool:
        """Whether the images have local descriptors, by which hits can be explained."""
        return self.searcher.index.explains

    @property
    def verifies(self) -> bool:
        """Whether the index owns local descriptors, by which hits can be verified."""
        return self.searcher.verifier is not None

    @cached_property
    def _extractor(self) -> "Extractor":
        with quick_imports():
            from lrcr.retrieval.queries import open_extractor  # imports torch, which takes seconds

            return open_extractor(self.searcher)

    def search(
        self,
        photo: ImageFile | str,
        top: int = 10,
        box: tuple[float, float, float, float] | None = None,
        *,
        rotations: bool = False,
        mirror: bool = False,
        exclude_self: bool = False,
        min_confidence: float | None = None,
        tolerate_truncated: bool = False,
    ) -> list[Hit]:
        """Find the images that show the same thing as a photo, best first.

        Images without a visual word in common with the query, whose ASMK score is 0, are not found.

        Args:
            photo: the query: an image file, or anything that opens as one.
            top: number of hits, at least 1; fewer are found if no more images have a word in common with the query.
            box: x0, y0, x1, y1: search for this part of the photo, in pixels as a viewer shows it.
            rotations: whether the photo is also searched turned by 90°, 180° and 270°; an image has its best score.
            mirror: whether the photo is also searched with left and right exchanged.
            exclude_self: whether images whose files had the same bytes as the query are left out.
            min_confidence: in [0, 1]; hits of less confidence are left out. Of the photos that match nothing, the share
                1 − `min_confidence` has a hit.
            tolerate_truncated: whether a JPEG that lacks its last bytes is taken as far as it goes.

        Raises:
            ParamsError: `top` is below 1, or `min_confidence` is given, and not in [0, 1] or the index not calibrated.
            ImageError: the photo cannot be decoded, or the box is not inside it.
            ArtifactError: a file of the index is missing or damaged.

        Example:
            >>> import lrcr
            >>> index = lrcr.open_index("my.index")
            >>> for hit in index.search("photos/church/00.jpg", top=2):
            ...     print(hit.rank, hit.path.name, hit.label)
            1 00.jpg church
            2 01.jpg church
            >>> hits = index.search("photos/church/00.jpg", box=(60, 60, 200, 200))
            >>> hits[0].score > hits[-1].score
            True
        """
        if top < 1:
            raise ParamsError(f"top: {top} is below 1; ask for at least one hit")
        file = Path(photo) if isinstance(photo, str) else photo
        if min_confidence is not None:
            self.require_confidence(min_confidence)
        query = Photo(file, box, orient=True, tolerate_truncated=tolerate_truncated)
        versions = versions_of(query, rotations=rotations, mirror=mirror)
        described = self._extractor.describe(list(versions.values()))
        own = Contents(file) if exclude_self else None
        least, is_query = min_confidence or 0.0, (lambda hit: own is not None and own.is_of(hit))
        return self._find(described, list(versions), top, least, is_query)

    def search_features(
        self, query: Descriptors, top: int = 10, *, exclude_self: bool = False, min_confidence: float | None = None
    ) -> list[Hit]:
        """As `search`, for the local descriptors of an image that were computed elsewhere.

        Args:
            query: of one image, as `lrcr.features.hloc.read_features` reads them.
            top, min_confidence: as in `search`.
            exclude_self: whether images with the same descriptors are left out.

        Raises:
            ArtifactError: the descriptors do not fit the index, or a file of it is missing or damaged.
            ParamsError: as `search`.
        """
        if top < 1:
            raise ParamsError(f"top: {top} is below 1; ask for at least one hit")
        if min_confidence is not None:
            self.require_confidence(min_confidence)
        images = self.searcher.images
        own = set(images["name"][images["sha256"] == hash_features(query)]) if exclude_self else set()
        return self._find(query, [""], top, min_confidence or 0.0, lambda hit: hit.image in own)

    def _find(
        self, described: Descriptors, versions: list[str], top: int, least: float, is_query: Callable[[Hit], bool]
    ) -> list[Hit]:
        """The best hits of at least the confidence `least`, without those that are the query."""
        asked = top
        while True:  # more are asked for until enough are left
            found = self._best(described, versions, asked, least)
            hits = [hit for hit in found if not is_query(hit)]
            if len(hits) >= top or len(found) < asked:
                return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:top], 1)]
            asked *= 2

    def require_confidence(self, least: float) -> None:
        """Refuse a least confidence that is not in [0, 1], or an index that is not calibrated for this search.

        Raises:
            ParamsError: either is the case.
        """
        if not 0 <= least <= 1:
            raise ParamsError(f"min_confidence: {least} is not in [0, 1]; give for example 0.99")
        self.searcher.require_calibration()

    def _best(self, described: Descriptors, versions: list[str], top: int, least: float) -> list[Hit]:
        """The images of the highest score over all versions of a query, best first."""
        steps, calibration = self.searcher.steps, self.searcher.calibration
        ranking = self.searcher.search(described, None if steps or calibration else top)
        unsearched, confidence = ranking.unsearched, None
        if calibration is not None:
            confidence = np.zeros((len(versions), len(self)))
            confidence[ranking.query, ranking.image] = calibration.confidences(ranking, len(versions))
        if self.explains:  # the similarity of global vectors may be negative
            ranking = ranking.select(ranking.score > 0)
        ranking = rerank_in_steps(steps, described, ranking)
        if confidence is not None:
            ranking = ranking.select(confidence[ranking.query, ranking.image] >= least)
        best = _best_scores(ranking.cut(top), len(versions))
        order = sorted(best, key=lambda image: -best[image][0])[:top]
        scores = np.array([best[image][0] for image in order], np.float32)
        merged = replace(Ranking.from_queries([np.array(order, np.int64)], [scores]), unsearched=unsearched)
        queries = [described.take([version]) for version in range(len(versions))]
        return [
            Hit(
                **vars(found),
                query=queries[version],
                version=versions[version],
                confidence=None if confidence is None else float(confidence[version, image]),
            )
            for found, image, (_, version) in zip(
                self.searcher.results(merged), order, map(best.__getitem__, order), strict=True
            )
        ]

    def explain(self, hit: Hit) -> Explanation:
        """Where query and hit match; the contributions of the matches add up to the score before re-ranking.

        The photo of the hit is described again; of an index without a model its descriptors are read again.

        Raises:
            ArtifactError: the index holds global vectors, which have no locations, or the features file has changed.
            ImageError: the photo is missing or cannot be decoded.

        Example:
            >>> import lrcr
            >>> index = lrcr.open_index("my.index")
            >>> hit = index.search("photos/church/00.jpg", top=2)[1]
            >>> found = index.explain(hit)
            >>> abs(sum(match.contribution for match in found.matches) - hit.score) < 1e-5
            True
            >>> x, y, hit_x, hit_y = found.locations[0]
        """
        if self.searcher.has_model:
            photo = Photo(hit.path, orient=True, tolerate_truncated=True, regions=hit.regions)
            described = self._extractor.describe([photo])
        else:
            described = features_of(self.searcher, hit.image)
        return Explanation(hit.query.xy, described.xy, self.searcher.index.explain(hit.query, described))

    def verify(self, hit: Hit) -> Explanation:
        """Which matches of query and hit agree on one transformation: the inliers of geometric verification.

        The photo of the hit is not read. Without a step `geometric` among those of the index, its defaults are taken.

        Raises:
            ArtifactError: the index owns no local descriptors.
        """
        verifier = self.searcher.verifier
        if verifier is None:
            remedy = owning(self.explains)
            raise ArtifactError(f"{self.searcher.folder}: owns no local descriptors to verify with; {remedy}")
        image = int((self.searcher.images["name"] == hit.image).to_numpy().argmax())
        keypoints = verifier.database.of_image(image)
        rows = verifier.verify(verifier.database.of_query(hit.query, 0), keypoints)
        inliers = [Inlier(one, other) for one, other in zip(*(side[:, None] for side in rows), strict=True)]
        return Explanation(hit.query.xy, keypoints.xy, inliers)


def _best_scores(ranking: Ranking, versions: int) -> dict[int, tuple[float, int]]:
    """Image → its best score and the version of the query that has it; equal scores in the order of the ranking."""
    best: dict[int, tuple[float, int]] = {}
    for version in range(versions):
        for image, score in zip(*ranking.of_query(version), strict=True):
            if score > best.get(int(image), (-np.inf, 0))[0]:
                best[int(image)] = float(score), version
    return best
