"""Geometric verification of real pairs: kinds of tentative matches, and robust estimators.

HOW without training describes the photos (`benchmarks.photos`), 1000 descriptors an image. The first 100 results of a
query are verified with each kind of matches and the same estimator, and with each estimator and the same matches. Times
are CPU time on one core. mAP (medium) is that after sorting by inliers, then by first score. Needs `LRCR_TEST_DATA`.
What a killed run has described is found again.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, recipe, test_data
from benchmarks.rows import code
from benchmarks.tables import markdown, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.rerank import GeometricParams
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.reranking import remove_ignored
from lrcr.features.store import Descriptors, open_descriptors
from lrcr.retrieval.asmk.codebook import Codebook, open_codebook
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.local_encoder import Keypoints
from lrcr.retrieval.rerank.estimation import find_inliers
from lrcr.retrieval.rerank.matching import match
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import fingerprint

Points = npt.NDArray[np.float32]
Matches = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Estimator = Callable[[Points, Points, float], int]
"""Number of inliers of matching points of two images, with the tolerance in pixels."""

_TOP = 100
_TOLERANCE = GeometricParams(kind="geometric").tolerance
_SIMILARITY, _SIMILARITY_OF_CODES = 0.5, 0.6
_TITLE = "mutual nearest, float16"
_HEAD = ["", "matches", "inliers, right images", "wrong images (95 %)", "mAP medium", "ms matching", "ms estimation"]


class Row:
    """What one kind of matches with one estimator finds.

    Args:
        form: of the descriptors: float16, codes, or words.
        matches: of two images.
        estimate: counts the inliers among them.
    """

    def __init__(self, form: str, matches: Callable[[Keypoints, Keypoints], Matches], estimate: Estimator) -> None:
        self.form, self.matches, self.estimate = form, matches, estimate
        self.found: list[tuple[bool, int, int, float, float]] = []
        self.images: list[npt.NDArray[np.int64]] = []
        self.scores: list[npt.NDArray[np.float32]] = []

    def verify(self, query: Keypoints, image: Keypoints, *, right: bool) -> int:
        """The inliers of a pair."""
        start = time.thread_time()
        rows, others = self.matches(query, image)
        between = time.thread_time()
        tolerance = _TOLERANCE * float(np.ptp(image.xy, axis=0).max())
        inliers = self.estimate(query.xy[rows], image.xy[others], tolerance)
        times = (1000 * (between - start), 1000 * (time.thread_time() - between))
        self.found.append((right, len(rows), inliers, *times))
        return inliers

    def rank(self, images: npt.NDArray[np.int64], inliers: list[int]) -> None:
        """Sort the images of the next query by their inliers; the first ones keep their order."""
        count = np.zeros(len(images))
        count[: len(inliers)] = np.add(inliers, 1)
        order = np.argsort(-count, kind="stable")
        self.images.append(images[order])
        self.scores.append(np.arange(len(images), 0, -1, dtype=np.float32))

    def table(self) -> pd.DataFrame:
        """A row for each pair."""
        return pd.DataFrame(self.found, columns=["right", "matches", "inliers", "matching", "estimation"])


def run() -> Iterator[Value]:
    """Write `results/matching.md`; yield milliseconds a pair and mAP of each row."""
    cv2.setNumThreads(1)
    work = cache_folder(fingerprint(code(), "matching"))
    params = recipe(test_data(), "codebook.words=1024", "extract.compute=bfloat16")
    if not (work / "codebook").exists():
        make_dataset("photos", FolderParams(kind="folder", path=str(test_data() / "photos")), work / "dataset", seed=0)
        describe(params, work, "how")
        make_codebook(params, work / "how/fit", work / "codebook")
    float16, queries, first = _open(params, work, "float16")
    codes, _, _ = _open(params, work, "codes")
    rows = _rows(codes.bits)
    relevance = open_dataset(work / "dataset").relevance
    given = remove_ignored(first, relevance, SETUPS["medium"])
    database = open_descriptors(work / "how/descriptors/database").read()
    forms = Forms(float16, codes, open_codebook(work / "codebook")[0], database, queries)
    _verify(rows, forms, given, relevance)
    start = evaluate(given, relevance, len(queries)).ap["medium"]
    yield Value("first list: mAP (medium)", float(np.nanmean(start)))
    cells = []
    for title, row in rows.items():
        pairs = row.table()
        ap = evaluate(Ranking.from_queries(row.images, row.scores), relevance, len(queries)).ap["medium"]
        score, times = float(np.nanmean(ap)), pairs[pairs["right"]][["matching", "estimation"]].median()
        inliers = pairs.groupby("right")["inliers"]
        right, wrong = inliers.median()[True], inliers.quantile(0.95)[False]
        matches = pairs[pairs["right"]]["matches"].median()
        cells.append([title, *(f"{value:.0f}" for value in (matches, right, wrong)), f"{score:.1f}"])
        cells[-1] += [f"{value:.2g}" for value in times]
        yield Value(f"{title}: mAP (medium)", score)
        yield Value(f"{title}: ms per pair", float(times.sum()), at_most=5 if title == "codes" else None)
    write("matching", markdown(_HEAD, cells))


def _open(params: Params, work: Path, kind: str) -> tuple[LocalDescriptors, Descriptors, Ranking]:
    """Index the photos: the local descriptors, those of the queries, and the first list."""
    own = load_params(None, [f"index.local_descriptors={kind}"])
    params = params.model_copy(update={"index": own.index})
    descriptors = work / "how/descriptors"
    model = work / "how/model.safetensors"
    if not (work / kind).exists():
        index_dataset(params, model, work / "dataset", descriptors, work / "codebook", work / kind, progress)
    searcher, queries = Searcher(work / kind, params.search), open_descriptors(descriptors / "queries").read()
    assert searcher.local is not None, "the index owns them"
    return searcher.local, queries, searcher.search(queries)


def _rows(bits: int | None) -> dict[str, Row]:
    """The rows of the table; those of packages that are not installed are left out."""

    def nearest(a: Keypoints, b: Keypoints) -> Matches:
        return match(a.descriptors, b.descriptors, _SIMILARITY)

    def nearest_codes(a: Keypoints, b: Keypoints) -> Matches:
        return match(a.descriptors, b.descriptors, _SIMILARITY_OF_CODES, bits=bits)

    rows = {
        _TITLE: Row("float16", nearest, _usac("affine")),
        "codes": Row("codes", nearest_codes, _usac("affine")),
        "mutual nearest of a common word, float16": Row("words", _match_common, _usac("affine")),
    }
    estimators = {"USAC, homography": _usac("homography"), "RANSAC of OpenCV, affine": _ransac}
    for name, make in {"poselib, homography": _poselib, "pydegensac, homography": _pydegensac}.items():
        try:
            estimators[name] = make()
        except ImportError as error:
            logging.warning("%s: %s; run `python -m uv pip install --no-deps %s`", name, error, error.name)
    return rows | {f"{_TITLE}; {name}": Row("float16", nearest, found) for name, found in estimators.items()}


class Forms:
    """The descriptors of images and queries in each form that a row can ask for."""

    def __init__(
        self,
        float16: LocalDescriptors,
        codes: LocalDescriptors,
        codebook: Codebook,
        database: Descriptors,
        queries: Descriptors,
    ) -> None:
        self.float16, self.codes, self.codebook = float16, codes, codebook
        self.database, self.queries = database, queries

    def of_image(self, image: int) -> dict[str, Keypoints]:
        """Those of an image, by form."""
        return self._forms(self.database, image, self.float16.of_image(image), self.codes.of_image(image))

    def of_query(self, query: int) -> dict[str, Keypoints]:
        """Those of a query, by form."""
        found = (local.of_query(self.queries, query) for local in (self.float16, self.codes))
        return self._forms(self.queries, query, *found)

    def _forms(self, images: Descriptors, image: int, float16: Keypoints, codes: Keypoints) -> dict[str, Keypoints]:
        rows = images.descriptors[images.offsets[image] : images.offsets[image + 1]]
        words = self.codebook.assign(rows, 1)  # of descriptors that are not divided by their norm
        worded = Keypoints(np.concatenate([words, float16.descriptors], axis=1, dtype=np.float32), float16.xy)
        return {"float16": float16, "codes": codes, "words": worded}


def _verify(rows: dict[str, Row], forms: Forms, given: Ranking, relevance: pd.DataFrame) -> None:
    """Verify the first results of each query with each row."""
    grades = relevance[relevance["grade"].isin(SETUPS["medium"].positive)]
    right = set(zip(grades["query"], grades["image"], strict=True))
    stored = cache(forms.of_image)
    count = len(forms.queries)
    for query in progress.over(range(count), "verify", count):
        described, (images, _) = forms.of_query(query), given.of_query(query)
        inliers: dict[str, list[int]] = {title: [] for title in rows}
        for image in images[:_TOP].tolist():
            for title, row in rows.items():
                found = row.verify(described[row.form], stored(image)[row.form], right=(query, image) in right)
                inliers[title].append(found)
        for title, row in rows.items():
            row.rank(images, inliers[title])


def _match_common(a: Keypoints, b: Keypoints) -> Matches:
    """Descriptors that are mutually nearest among those of a visual word, which stands in front of each descriptor."""
    words_a, words_b, found = a.descriptors[:, 0], b.descriptors[:, 0], [np.zeros((2, 0), np.int64)]
    for word in np.intersect1d(words_a, words_b):
        own, others = np.flatnonzero(words_a == word), np.flatnonzero(words_b == word)
        rows, columns = match(a.descriptors[own, 1:], b.descriptors[others, 1:], _SIMILARITY)
        found.append(np.stack([own[rows], others[columns]]))
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns


def _usac(transformation: str) -> Estimator:
    return lambda a, b, tolerance: int(find_inliers(a, b, transformation, tolerance).sum())


def _ransac(a: Points, b: Points, tolerance: float) -> int:
    if len(a) <= 3:
        return 0
    cv2.setRNGSeed(0)
    found, mask = cv2.estimateAffine2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=1000)
    return 0 if found is None else int(mask.sum())


def _poselib() -> Estimator:
    import poselib

    def estimate(a: Points, b: Points, tolerance: float) -> int:
        if len(a) <= 4:
            return 0
        options = {"max_reproj_error": tolerance, "max_iterations": 1000, "seed": 0}
        _, info = poselib.estimate_homography(a.astype(np.float64), b.astype(np.float64), options, {})
        return int(np.sum(info["inliers"]))

    return estimate


def _pydegensac() -> Estimator:
    import pydegensac

    def estimate(a: Points, b: Points, tolerance: float) -> int:
        if len(a) <= 4:
            return 0
        _, mask = pydegensac.findHomography(a.astype(np.float64), b.astype(np.float64), tolerance, 0.999, 1000)
        return int(mask.sum())

    return estimate
