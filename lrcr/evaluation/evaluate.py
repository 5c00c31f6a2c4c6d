"""Evaluation of one dataset: rank the database for every query and evaluate the ranking."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import pandas as pd

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError
from lrcr.evaluation.localisation import measure_localisation
from lrcr.evaluation.metrics import Evaluation, evaluate, mean_average_precision_at
from lrcr.evaluation.per_query import tabulate_queries
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.reranking import rerank_setups
from lrcr.evaluation.ties import measure_ties
from lrcr.features.store import open_descriptors
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import require_input, require_params

_STATISTICS = ("dimensions", "words_per_image", "bytes_per_image", "descriptors_per_word", "imbalance", "empty_words")


@dataclass(frozen=True)
class Result:
    """The result of an evaluation.

    Args:
        ranking: of all queries, before re-ranking.
        reranked: setup → its ranking after the steps of re-ranking, without the images that it ignores.
        evaluation: AP and precision of each query, before re-ranking.
        per_query: after re-ranking, the AP and the landmark of each query, as a table (`lrcr.evaluation.per_query`).
        metrics: reproducible bit for bit: `map`, `mp@k`, `queries`; `map@k` if the benchmark measures it; `reranked`
            with `map` and `mp@k` after re-ranking, if there are steps; statistics of the index: `bytes_per_image`, of
            global vectors `dimensions`, of local descriptors `words_per_image`, `descriptors_per_word` (in one image;
            burstiness), `imbalance` and `empty_words`; `local_bytes_per_image` of the local descriptors that it owns;
            `localisation` if the dataset has masks or boxes of landmarks and the local descriptors are stored; `ties`
            (setup → share and expected mAP, `lrcr.evaluation.ties`), before re-ranking, if relevant images have the
            score of irrelevant ones.
        cost: values that depend on the machine: `search_ms_per_query`, after a warm-up, and `search_threads`; if there
            are steps `rerank_ms_per_query`, the mean over the three setups.
    """

    ranking: Ranking
    reranked: dict[str, Ranking]
    evaluation: Evaluation
    per_query: pd.DataFrame
    metrics: dict[str, Any]
    cost: dict[str, float]


def require_queries(dataset: Dataset) -> None:
    """Refuse a dataset without queries.

    Raises:
        DatasetError: it has no queries.
    """
    if dataset.queries.empty:
        raise DatasetError(f"{dataset.name}: has no queries; give the folder labels.csv or ground_truth.json")


def evaluate_dataset(params: Params, dataset_folder: Path, descriptors_folder: Path, index_folder: Path) -> Result:
    """Search a dataset's index with its queries and evaluate the ranking under the Revisited protocol.

    Raises:
        ArtifactError: an input is damaged, or the inputs were not made from the same artifacts.
        DatasetError: the dataset has no queries.
    """
    dataset = open_dataset(dataset_folder)
    require_queries(dataset)
    queries_store, database = (open_descriptors(descriptors_folder / part) for part in ("queries", "database"))
    searcher = Searcher(index_folder, params.search, rerank=params.rerank)
    index, manifest = searcher.index, searcher.index.manifest
    require_params(manifest, params.sections("index"), index_folder)
    require_input(manifest, "dataset", dataset.fingerprint, index_folder)
    for store in (queries_store, database):
        require_input(store.manifest, "dataset", dataset.fingerprint, store.folder)
        require_input(store.manifest, "model", manifest.inputs["model"], store.folder)
    described = queries_store.read()
    queries = index.prepare(described)
    index.rank(index.prepare(queries_store.image(0)), params.search.top)  # a warm-up: compiled functions are loaded
    start = time.perf_counter()
    ranking = index.rank(queries, params.search.top)
    seconds = time.perf_counter() - start
    evaluation = evaluate(ranking, dataset.relevance, len(dataset.queries))
    start = time.perf_counter()
    reranked = rerank_setups(searcher.steps, described, ranking, dataset.relevance)
    rerank_seconds = (time.perf_counter() - start) / len(SETUPS)
    statistics = {key: manifest.facts[key] for key in _STATISTICS if key in manifest.facts}
    if searcher.local is not None:
        statistics["local_bytes_per_image"] = searcher.local.bytes_per_image
    cost = {"search_ms_per_query": 1000 * seconds / len(dataset.queries), "search_threads": numba.get_num_threads()}
    if searcher.steps:
        cost["rerank_ms_per_query"] = 1000 * rerank_seconds / len(dataset.queries)
    locates = index.explains and database.stored and not dataset.root.is_file()  # a features file has no photos
    localisation = measure_localisation(dataset, database) if locates else None
    localised = {} if localisation is None else {"localisation": asdict(localisation)}
    depth, count = dataset.map_depth, len(dataset.queries)
    at_depth = {f"map@{depth}": mean_average_precision_at(depth, ranking, dataset.relevance, count)} if depth else {}
    ties = {setup: asdict(found) for setup, found in measure_ties(ranking, dataset.relevance).items()}
    metrics = {**evaluation.as_metrics(), **at_depth, **statistics, **localised, **({"ties": ties} if ties else {})}
    if searcher.steps:
        metrics["reranked"] = reranked.evaluation.as_metrics()
    per_query = tabulate_queries(reranked.evaluation, dataset)
    return Result(ranking, reranked.rankings, evaluation, per_query, metrics, cost)


def evaluate_ranking(file: Path, dataset_folder: Path) -> pd.DataFrame:
    """The AP of each query of a stored ranking (`lrcr.evaluation.per_query`).

    Raises:
        ArtifactError: the ranking or the dataset is missing or damaged, or the ranking belongs to another dataset.
        DatasetError: the dataset has no queries.
    """
    dataset = open_dataset(dataset_folder)
    require_queries(dataset)
    ranking = Ranking.load(file)
    largest = int(ranking.image.max(initial=-1))
    if largest >= len(dataset.images):
        raise ArtifactError(
            f"{file}: image {largest}, but {dataset_folder} has {len(dataset.images)}; name its dataset"
        )
    try:
        return tabulate_queries(evaluate(ranking, dataset.relevance, len(dataset.queries)), dataset)
    except ArtifactError as error:
        raise ArtifactError(f"{file}: {error}") from None
