"""The steps of re-ranking that the params name."""

from collections.abc import Sequence

from lrcr.config.rerank import ExpansionParams, RerankParams, SuperGlobalParams
from lrcr.errors import ParamsError
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.reranker import Reranker
from lrcr.retrieval.rerank.superglobal import SuperGlobal


def open_steps(params: Sequence[RerankParams], index: OpenIndex) -> list[Reranker]:
    """The steps of the section `rerank`, for an open index.

    Raises:
        ParamsError: a step needs what the index does not hold.
    """
    return [_open_step(step, index) for step in params]


def _open_step(params: RerankParams, index: OpenIndex) -> Reranker:
    match params:
        case ExpansionParams():
            return Expansion(_of_vectors(params.kind, index), params)
        case SuperGlobalParams():
            return SuperGlobal(_of_vectors(params.kind, index), params)


def _of_vectors(kind: str, index: OpenIndex) -> OpenIndex:
    if index.explains:
        raise ParamsError(f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out")
    return index
