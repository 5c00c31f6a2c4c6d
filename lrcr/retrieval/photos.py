"""Search with photos: a query photo is described with the model of the index, and hits are explained by locations."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import ArchivedImage, Photo
from lrcr.data.ranking import Ranking
from lrcr.data.versions import versions_of
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.local import keypoints_of
from lrcr.retrieval.rerank.geometric import Inlier
from lrcr.retrieval.rerank.reranker import rerank_in_steps
from lrcr.retrieval.searcher import Result, Searcher
from lrcr.runtime.imports import quick_imports

if TYPE_CHECKING:
    from lrcr.features.extractor import Extractor


@dataclass(frozen=True)
class Hit(Result):
    """An image that was found.

    Args:
        query: the descriptors of the query photo, or of that version of it that matches best.
        version: which one this is: empty (the photo itself), 90°, 180°, 270° (clockwise) or mirrored.
    """

    query: Descriptors = field(repr=False, compare=False, kw_only=True)
    version: str = field(default="", compare=False)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a query and a hit match.

    Args:
        query: x and y of each descriptor of the query, of shape (N, 2), in pixels of the photo.
        hit: those of the hit, of shape (M, 2).
        matches: words in common, the largest contribution first, or inliers; their rows are those of `query` and `hit`.
    """

    query: npt.NDArray[np.float32]
    hit: npt.NDArray[np.float32]
    matches: Sequence[Match | Inlier]

    @property
    def locations(self) -> npt.NDArray[np.float64]:
        """The mean location of each match in the query (x, y) and in the hit (x, y), of shape (matches, 4)."""
        ends = [(*self.query[m.query].mean(axis=0), *self.hit[m.image].mean(axis=0)) for m in self.matches]
        return np.array(ends, np.float64).reshape(-1, 4)


class PhotoIndex:
    """An index that is searched with photos.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.
        photos: where the photos are now, if they were moved (`lrcr.retrieval.images.choose_roots`).
        rerank: steps that rank the results again.

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
    ) -> None:
        self.searcher = Searcher(folder, search, photos, rerank)

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
        photo: Path | str,
        top: int = 10,
        box: tuple[float, float, float, float] | None = None,
        *,
        rotations: bool = False,
        mirror: bool = False,
        exclude_self: bool = False,
        tolerate_truncated: bool = False,
    ) -> list[Hit]:
        """Find the images that show the same thing as a photo, best first.

        Images without a visual word in common with the query, whose ASMK score is 0, are not found.

        Args:
            photo: the query, any image file.
            top: number of hits, at least 1; fewer are found if no more images have a word in common with the query.
            box: x0, y0, x1, y1: search for this part of the photo, in pixels as a viewer shows it.
            rotations: whether the photo is also searched turned by 90°, 180° and 270°; an image has its best score.
            mirror: whether the photo is also searched with left and right exchanged.
            exclude_self: whether image files with the same bytes as the query are left out.
            tolerate_truncated: whether a JPEG that lacks its last bytes is taken as far as it goes.

        Raises:
            ParamsError: `top` is below 1.
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
        query = Photo(Path(photo), box, orient=True, tolerate_truncated=tolerate_truncated)
        versions = versions_of(query, rotations=rotations, mirror=mirror)
        described = self._extractor.describe(list(versions.values()))
        own = Path(photo).read_bytes() if exclude_self else None
        asked = top
        while True:  # more are asked for until enough are left
            found = self._best(described, list(versions), asked)
            hits = [hit for hit in found if own is None or not _has_contents(hit.path, own)]
            if len(hits) >= top or len(found) < asked:
                return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:top], 1)]
            asked *= 2

    def _best(self, described: Descriptors, versions: list[str], top: int) -> list[Hit]:
        """The images of the highest score over all versions of a query, best first."""
        ranking = self.searcher.search(described, None if self.searcher.steps else top)
        if self.explains:  # the similarity of global vectors may be negative
            ranking = ranking.select(ranking.score > 0)
        ranking = rerank_in_steps(self.searcher.steps, described, ranking).cut(top)
        best: dict[int, tuple[float, int]] = {}  # in the order of a ranking, which decides between equal scores
        for version in range(len(versions)):
            for image, score in zip(*ranking.of_query(version), strict=True):
                if score > best.get(int(image), (-np.inf, 0))[0]:
                    best[int(image)] = float(score), version
        order = sorted(best, key=lambda image: -best[image][0])[:top]
        scores = np.array([best[image][0] for image in order], np.float32)
        merged = Ranking.from_queries([np.array(order, np.int64)], [scores])
        queries = [described.take([version]) for version in range(len(versions))]
        return [
            Hit(**vars(found), query=queries[version], version=versions[version])
            for found, (_, version) in zip(self.searcher.results(merged), map(best.__getitem__, order), strict=True)
        ]

    def explain(self, hit: Hit) -> Explanation:
        """Where query and hit match; the contributions of the matches add up to the score before re-ranking.

        The photo of the hit is described again.

        Raises:
            ArtifactError: the index holds global vectors, which have no locations.
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
        photo = Photo(hit.path, orient=True, tolerate_truncated=True, regions=hit.regions)
        described = self._extractor.describe([photo])
        return Explanation(hit.query.xy, described.xy, self.searcher.index.explain(hit.query, described))

    def verify(self, hit: Hit) -> Explanation:
        """Which matches of query and hit agree on one transformation: the inliers of geometric verification.

        The photo of the hit is not read. Without a step `geometric` among those of the index, its defaults are taken.

        Raises:
            ArtifactError: the index owns no local descriptors.
        """
        verifier = self.searcher.verifier
        if verifier is None:
            needed = "build it with index.local_descriptors: float16"
            raise ArtifactError(f"{self.searcher.folder}: owns no local descriptors to verify with; {needed}")
        image = int((self.searcher.images["name"] == hit.image).to_numpy().argmax())
        keypoints = verifier.database.of_image(image)
        rows = verifier.verify(keypoints_of(hit.query, 0), keypoints)
        inliers = [Inlier(one, other) for one, other in zip(*(side[:, None] for side in rows), strict=True)]
        return Explanation(hit.query.xy, keypoints.xy, inliers)


def _has_contents(file: Path | ArchivedImage, contents: bytes) -> bool:
    """Whether a file has these bytes; False if it is missing."""
    if isinstance(file, Path) and (not file.is_file() or file.stat().st_size != len(contents)):
        return False
    with file.open("rb") as stream:
        return stream.read() == contents
