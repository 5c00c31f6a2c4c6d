"""Rows of a comparison that rank the first list of a system again, by a step (`lrcr.config.rerank`) with an index.

Among several settings of the step, the one with the best mAP (medium) on the graded queries is chosen, with the first
seed. Like all results, each list is ranked again without the images that a setup ignores.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from benchmarks.identities import is_graded
from benchmarks.systems import Scores, Systems, open_scores, write_scores
from lrcr.config.params import Params
from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import Dataset, Ids, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import landmark_names
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.reranking import remove_ignored
from lrcr.features.store import open_descriptors
from lrcr.retrieval.rerank.steps import open_steps
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import staged_folder

Steps = Sequence[RerankParams]
"""Settings of one step, among which one is chosen."""

_STEP: TypeAdapter[RerankParams] = TypeAdapter(RerankParams)


@dataclass(frozen=True)
class Reranked:
    """A row.

    Args:
        scores: after the step; the cost is that of all indexes, of the search and of the step together.
        step: that was chosen.
    """

    scores: Scores
    step: RerankParams


def rerank(systems: Systems, first: Params, by: Params, steps: Steps) -> Reranked:
    """Rank the list of the system `first` again, by a step that reads the index of the system `by`, or find the scores.

    Args:
        first, by: params with which both were evaluated (`Systems.evaluate` with `keep`).
        steps: settings of the step.
    """
    own = systems.cache("reranked", first, by, [step.model_dump(mode="json") for step in steps]) / "scores"
    if not own.exists():
        lists = Lists(open_dataset(systems.evaluate_on), systems.build(first), first.search)
        lists.read_by(systems.build(by), by.search)
        step = lists.choose(steps)
        costs = [systems.evaluate(params, keep=True).cost for params in ([first] if first == by else [first, by])]
        with staged_folder(own) as folder:
            write_scores(folder, lists.score(step, costs))
            (folder / "step.json").write_text(step.model_dump_json(), encoding="utf-8")
    return Reranked(open_scores(own), _STEP.validate_python(json.loads((own / "step.json").read_text("utf-8"))))


class Lists:
    """The first lists of all queries, and the descriptors and the index by which they are ranked again.

    Args:
        built: folder of the system that is searched (`Systems.build`).
        search: its settings.
    """

    def __init__(self, dataset: Dataset, built: Path, search: SearchParams) -> None:
        self.dataset = dataset
        self.names = landmark_names(dataset)
        self.graded = np.flatnonzero(is_graded(self.names))
        self.ranking = Searcher(built / "index", search).search(open_descriptors(built / "descriptors/queries").read())

    def read_by(self, built: Path, search: SearchParams) -> None:
        """Open what the step reads: the folder of a system, which may be another one."""
        self.searcher = Searcher(built / "index", search)
        self.queries = open_descriptors(built / "descriptors/queries").read()

    def choose(self, steps: Steps) -> RerankParams:
        """The setting with the best mAP (medium) on the graded queries."""
        if len(steps) == 1:
            return steps[0]
        return max(steps, key=lambda step: float(np.nanmean(self._rank(step, "medium", self.graded)[0])))

    def score(self, step: RerankParams, costs: Sequence[dict[str, float]]) -> Scores:
        """The scores after a step; `costs` are those of the systems that are searched."""
        table, everything = self.names.copy(), np.arange(len(self.names))
        table["medium"], seconds = self._rank(step, "medium", everything)
        for setup in ("easy", "hard"):
            # The queries without a hard image have the same list in easy as in medium.
            table[setup] = table["medium"] if setup == "easy" else np.nan
            table.loc[self.graded, setup] = self._rank(step, setup, self.graded)[0]
        size = sum(cost["bytes per image"] for cost in costs)
        if self.searcher.local is not None and step.kind == "geometric":
            size += self.searcher.local.bytes_per_image
        cost = {
            "bytes per image": size,
            "images/s": 1 / sum(1 / cost["images/s"] for cost in costs),
            "ms per query": costs[0]["ms per query"] + 1000 * seconds / len(table),
        }
        return Scores(table, cost)

    def _rank(self, step: RerankParams, setup: str, chosen: Ids) -> tuple[npt.NDArray[np.float64], float]:
        """The AP of some queries after the step, and the seconds that it took."""
        [reranker] = open_steps([step], self.searcher.index, self.searcher.local)
        relevance = self.dataset.relevance[self.dataset.relevance["query"].isin(chosen)]
        relevance = relevance.assign(query=np.searchsorted(chosen, relevance["query"]))
        images, scores = zip(*(self.ranking.of_query(query) for query in chosen.tolist()), strict=True)
        given = remove_ignored(Ranking.from_queries(images, scores), relevance, SETUPS[setup])
        described = self.queries.take(chosen.tolist())
        start = time.perf_counter()
        ranking = reranker.rerank(described, given)
        seconds = time.perf_counter() - start
        return evaluate(ranking, relevance, len(chosen)).ap[setup], seconds
