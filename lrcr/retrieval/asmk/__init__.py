"""ASMK: visual words, aggregated residuals and the inverted file (Tolias et al., ICCV 2013)."""

from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook, open_codebook, read_centroids, save_codebook
from lrcr.retrieval.asmk.explain import Match, Side, explain
from lrcr.retrieval.asmk.index import Index, build_index, open_index
from lrcr.retrieval.asmk.segments import Layout

__all__ = [
    "Aggregated",
    "Codebook",
    "Index",
    "Layout",
    "Match",
    "Side",
    "aggregate",
    "build_index",
    "explain",
    "learn_codebook",
    "open_codebook",
    "open_index",
    "read_centroids",
    "save_codebook",
]
