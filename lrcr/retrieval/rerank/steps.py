"""The steps of re-ranking that the params name."""

from collections.abc import Sequence

from lrcr.config.params import Params
from lrcr.config.rerank import ExpansionParams, GeometricParams, RerankParams, SuperGlobalParams
from lrcr.errors import ParamsError
from lrcr.retrieval.backend import OpenIndex, has_words
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.rerank.reranker import Reranker
from lrcr.retrieval.rerank.superglobal import SuperGlobal


def open_steps(params: Sequence[RerankParams], index: OpenIndex, local: LocalDescriptors | None) -> list[Reranker]:
    """The steps of the section `rerank`.

    Args:
        params: of the steps.
        index: that is searched.
        local: the local descriptors that it owns.

    Raises:
        ParamsError: a step needs what the index does not hold.
    """
    return [_open_step(step, index, local) for step in params]


def require_steps(params: Params) -> None:
    """Refuse steps that need what an index that is built with these params will not hold.

    Raises:
        ParamsError: a step does.
    """
    for step in params.rerank:
        _require(step.kind, words=has_words(params), owned=params.index.local_descriptors != "none")


def _open_step(params: RerankParams, index: OpenIndex, local: LocalDescriptors | None) -> Reranker:
    _require(params.kind, words=index.explains, owned=local is not None)
    match params:
        case ExpansionParams():
            return Expansion(index, params)
        case SuperGlobalParams():
            return SuperGlobal(index, params)
        case GeometricParams():
            assert local is not None, "see _require"
            return Geometric(local, params)


def _require(kind: str, *, words: bool, owned: bool) -> None:
    """Refuse a step for an index of visual words, or for one that does not own its local descriptors."""
    if kind == "geometric":
        if not owned:
            raise ParamsError(
                "rerank: geometric needs local descriptors, which the index does not own; build it with "
                "index.local_descriptors: float16"
            )
    elif words:
        raise ParamsError(f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out")
