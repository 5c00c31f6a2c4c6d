"""An index that is built, searched once and removed: for validation and for mining during training."""

import tempfile
from pathlib import Path

import numpy as np

from lrcr.data.ranking import Ranking
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout


def search_once(
    database: Aggregated,
    queries: Aggregated,
    words: int,
    *,
    alpha: float = 3.0,
    tau: float = 0.0,
    idf: bool = False,
    top: int | None = None,
) -> Ranking:
    """Rank the images of a database for each query by ASMK's score.

    Args:
        database, queries: postings of the same visual words, both binary or both not.
        words: number of visual words.
        alpha: see `lrcr.config.retrieval.SearchParams`, as the following ones.
        tau: see there.
        idf: see there.
        top: images returned for a query; None: all.
    """
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(words, database.dim, database.binary)
        build_index(Path(folder), [database], layout, params={}, inputs={})
        images, scores, offsets = open_index(Path(folder)).search(queries, alpha=alpha, tau=tau, idf=idf, top=top)
    return Ranking(np.repeat(np.arange(queries.count), np.diff(offsets)), images, scores)
