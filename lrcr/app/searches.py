"""Searches of the page: results, of which the last are kept, the matches of a result, and the maps of a photo."""

import time

from lrcr.app.answers import Found, Line, MapAnswer, MapsAnswer, Mark, MatchesAnswer, SearchAnswer, Uploaded
from lrcr.app.errors import NotFoundError
from lrcr.app.judging import Judging
from lrcr.app.limits import Limits
from lrcr.app.memory import Memory
from lrcr.app.photos import Photos, ServedPhoto
from lrcr.app.served import Opened
from lrcr.app.uploads import Upload
from lrcr.data.dataset import Photo
from lrcr.data.images import Box
from lrcr.report.inspection import Values, inspect_photo
from lrcr.retrieval.hits import Hit

_MOST_LINES = 200
_MAPS = {
    "attention": "strength of each location, with context",
    "feature_norm": "norm of the features of the backbone",
    "gate": "factor of the strength that the graph gives",
    "change": "relative change of the feature by the graph",
    "share": "factor of the strength that smoothing gives",
    "bandwidth": "bandwidth a of smoothing: larger is narrower",
    "confidence": "c of smoothing: how much of itself a location keeps",
}
"""Map of an `Inspection` → what it says."""

_TITLES = {"feature_norm": "attention without context", "confidence": "self-confidence"}


class Searches:
    """Answers of the model; to be called by one thread.

    Args:
        photos: by id.
        judging: knows the marks of results.
        limits: of the server.
    """

    def __init__(self, photos: Photos, judging: Judging, limits: Limits) -> None:
        self._photos, self._judging, self._depth = photos, judging, limits.depth
        self._kept: Memory[list[Hit]] = Memory(limits.searches, lambda _: 1)

    def search(self, number: int, photo: ServedPhoto, box: Box | None, first: int, count: int) -> SearchAnswer:
        """Results of a query from rank `first` + 1 on.

        Raises:
            ImageError: the box is not inside the photo, or the photo cannot be decoded.
        """
        started = time.perf_counter()
        opened = self._photos.index(number)
        hits = self._hits(number, opened, photo, box)
        shown = hits[first : first + count]
        query = self._judging.query(photo, box)
        marks = self._judging.marks(query)
        names = self._judging.names([hit.path for hit in shown])
        return SearchAnswer(
            query=Uploaded(photo=photo.id, name=photo.name, width=photo.width, height=photo.height),
            box=box,
            index=number,
            total=len(hits),
            results=[
                _found(number, opened, hit, marks.get(name), same=bool(name) and name == query[0])
                for hit, name in zip(shown, names, strict=True)
            ],
            seconds=round(time.perf_counter() - started, 3),
        )

    def _hits(self, number: int, opened: Opened, photo: ServedPhoto, box: Box | None) -> list[Hit]:
        key = (number, opened.generation, photo.id, box)
        hits = self._kept.get(key)
        if hits is None:
            stored = not isinstance(photo.file, Upload)  # in an index, which accepted it as it is
            hits = opened.index.search(photo.file, top=self._depth, box=box, tolerate_truncated=stored)
            self._kept.keep(key, hits)
        return hits

    def matches(self, number: int, photo: ServedPhoto, box: Box | None, image: str) -> MatchesAnswer:
        """Where a query and one of its results match.

        Raises:
            NotFoundError: it is not among the results.
            LrcrError: the index holds global vectors, or the file of the result cannot be read.
        """
        opened = self._photos.index(number)
        name = self._photos.find(image).name
        hit = next((hit for hit in self._hits(number, opened, photo, box) if hit.image == name), None)
        if hit is None:
            raise NotFoundError(f"{name}: not among the first {self._depth} results; search again")
        found = opened.index.explain(hit)
        lines: list[Line] = [
            (*_rounded(line), match.contribution) for line, match in zip(found.locations, found.matches, strict=True)
        ]
        return MatchesAnswer(words=lines[:_MOST_LINES], shared=len(lines), inliers=_inliers(opened, hit))

    def maps(self, number: int, photo: ServedPhoto) -> MapsAnswer:
        """The maps of a photo.

        Raises:
            LrcrError: the model has no maps, or the photo cannot be decoded.
        """
        opened = self._photos.index(number)
        size = opened.index.searcher.params.extract.image_size
        read = Photo(photo.file, orient=True, tolerate_truncated=True)
        inspection = inspect_photo(opened.local_model, read, size)
        maps = {name: getattr(inspection, name) for name in _MAPS}
        if (maps["attention"] == maps["feature_norm"]).all():
            del maps["feature_norm"]
        return MapsAnswer(
            window=inspection.window,
            maps=[
                MapAnswer(name=_TITLES.get(name, name), about=_MAPS[name], values=_as_rows(values))
                for name, values in maps.items()
                if values is not None
            ],
        )


def _found(number: int, opened: Opened, hit: Hit, mark: Mark | None, *, same: bool) -> Found:
    image, stored = opened.named(hit.image)
    return Found(
        rank=hit.rank,
        score=round(hit.score, 6),
        confidence=None if hit.confidence is None else round(hit.confidence, 4),
        image=hit.image,
        label=hit.label,
        photo=f"{number}-{image}",
        width=stored.width,
        height=stored.height,
        mark=mark,
        same=same,
    )


def _inliers(opened: Opened, hit: Hit) -> list[Line] | None:
    """The geometric inliers; None if the index owns no local descriptors."""
    if opened.index.searcher.local is None:
        return None
    return [(*_rounded(line), 1.0) for line in opened.index.verify(hit).locations[:_MOST_LINES]]


def _rounded(line: object) -> tuple[float, float, float, float]:
    a, b, c, d = (round(float(value), 1) for value in line)  # type: ignore[attr-defined]
    return a, b, c, d


def _as_rows(values: Values) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in values]
