"""The report on the search in one dataset: graded rankings, and matches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.evaluation.evaluate import evaluate_ranking, require_queries
from lrcr.features.store import DescriptorStore, open_descriptors
from lrcr.progress import SILENT, Progress
from lrcr.report.grading import choose_extremes, grade_images, make_row
from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches
from lrcr.report.rankings import draw_rankings
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import require_input, staged_folder

_QUERIES, _MATCHES, _TOP = 6, 4, 10  # queries, the number of them whose matches are drawn, results of each query


def report_dataset(
    params: Params,
    dataset_folder: Path,
    descriptors_folder: Path,
    index_folder: Path,
    ranking_file: Path,
    folder: Path,
    progress: Progress = SILENT,
) -> None:
    """Draw pictures of the results on a dataset into `folder`, which is replaced as a whole.

    `rankings.png` shows the queries with the highest and the lowest AP (medium), and others that are drawn by the seed.
    With local descriptors, `matches-<query>.png` shows the matches of some queries with their first correct result.

    Raises:
        ArtifactError: an input is damaged, or the inputs were not made from the same artifacts.
        DatasetError: the dataset has no queries.
        ImageError: a photo cannot be decoded.
    """
    inputs = _open(params, dataset_folder, descriptors_folder, index_folder, ranking_file)
    queries = choose_extremes(inputs.ap, _QUERIES, params.seed)
    with staged_folder(folder) as temporary:
        if inputs.searcher.index.explains:
            for query in progress.over(queries[:_MATCHES], "drawing matches", _MATCHES):
                _draw_matches_of(inputs, query, temporary / f"matches-{query:04}.png")
        rows = [make_row(inputs.dataset, inputs.ranking, query, _TOP, float(inputs.ap[query])) for query in queries]
        draw_rankings(temporary / "rankings.png", rows, orient=inputs.dataset.orient, progress=progress)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """The artifacts of a dataset, and the AP (medium) of each query, of shape (Q,), NaN without a positive."""

    dataset: Dataset
    ranking: Ranking
    ap: npt.NDArray[np.float64]
    searcher: Searcher
    database: DescriptorStore
    queries: DescriptorStore


def _open(params: Params, dataset_folder: Path, descriptors_folder: Path, index_folder: Path, ranking: Path) -> _Inputs:
    dataset = open_dataset(dataset_folder)
    require_queries(dataset)
    searcher = Searcher(index_folder, params.search)
    made_from = searcher.index.manifest.inputs
    stores = [open_descriptors(descriptors_folder / part) for part in ("database", "queries")]
    require_input(searcher.index.manifest, "dataset", dataset.fingerprint, index_folder)
    for store in stores:
        for name in ("dataset", "model"):
            require_input(store.manifest, name, made_from[name], descriptors_folder)
    ap = evaluate_ranking(ranking, dataset_folder)["medium"].to_numpy(np.float64)
    return _Inputs(dataset, Ranking.load(ranking), ap, searcher, *stores)


def _draw_matches_of(inputs: _Inputs, query: int, path: Path) -> None:
    """Draw the matches of a query with its first correct result, if one was returned."""
    grades = grade_images(inputs.dataset, query)
    images, scores = inputs.ranking.of_query(query)
    correct = [position for position, image in enumerate(images) if grades.get(int(image)) in ("easy", "hard")]
    if not correct:
        return
    position, image = correct[0], int(images[correct[0]])
    query_descriptors = inputs.queries.image(query)
    if inputs.database.stored:
        descriptors = inputs.database.image(image)
    else:
        from lrcr.features.regions import database_photos  # imports torch
        from lrcr.retrieval.queries import open_extractor

        photo = database_photos(inputs.dataset, inputs.searcher.params.extract)[image]
        descriptors = open_extractor(inputs.searcher).describe([photo])
    title = f"rank {position + 1}, {grades[image]}, {scores[position]:.4f}"
    matches = inputs.searcher.index.explain(query_descriptors, descriptors)
    result = ResultMatches(PhotoKeypoints(inputs.dataset.photo(image).path, descriptors.xy), title, matches)
    keypoints = PhotoKeypoints(inputs.dataset.query_photos()[query].path, query_descriptors.xy)
    draw_matches(path, keypoints, [result], orient=inputs.dataset.orient)
