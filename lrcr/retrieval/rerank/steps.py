"""The steps of re-ranking that the params name."""

from collections.abc import Sequence
from typing import TypeVar

from lrcr.config.rerank import (
    BlendParams,
    DiffusionParams,
    ExpansionParams,
    GeometricParams,
    RerankParams,
    SuperGlobalParams,
    WordsParams,
)
from lrcr.errors import ParamsError
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.rerank.blend import Blend
from lrcr.retrieval.rerank.diffusion import Diffusion
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.rerank.reranker import Reranker
from lrcr.retrieval.rerank.superglobal import SuperGlobal
from lrcr.retrieval.rerank.words import WordExpansion

Owned = TypeVar("Owned", LocalDescriptors, Geometric)


def open_steps(params: Sequence[RerankParams], index: OpenIndex, local: LocalDescriptors | None) -> list[Reranker]:
    """The steps of the section `rerank`.

    Args:
        params: of the steps.
        index: that is searched.
        local: the local descriptors that it owns.

    Raises:
        ParamsError: a step needs what the index does not hold.
    """
    verifier = open_verifier(params, local)
    return [_open_step(step, index, local, verifier) for step in params]


def open_verifier(params: Sequence[RerankParams], local: LocalDescriptors | None) -> Geometric | None:
    """The geometric step that the params name first, or else with its defaults; None without local descriptors."""
    if local is None:
        return None
    named = [each for each in params if each.kind == "geometric"]
    return Geometric(local, named[0] if named else GeometricParams(kind="geometric"))


def _open_step(
    params: RerankParams, index: OpenIndex, local: LocalDescriptors | None, verifier: Geometric | None
) -> Reranker:
    match params:
        case ExpansionParams():
            return Expansion(_of_vectors(params.kind, index), params)
        case SuperGlobalParams():
            return SuperGlobal(_of_vectors(params.kind, index), params)
        case BlendParams():
            return Blend(index, params)
        case DiffusionParams():
            return Diffusion(_of_vectors(params.kind, index), params)
        case WordsParams():
            return WordExpansion(_of_words(params.kind, index), _owned(params.kind, verifier), params)
        case GeometricParams():
            return Geometric(_owned(params.kind, local), params)


def _owned(kind: str, needed: Owned | None) -> Owned:
    if needed is None:
        raise ParamsError(
            f"rerank: {kind} needs local descriptors, which the index does not own; build it with "
            "index.local_descriptors: float16"
        )
    return needed


def _of_words(kind: str, index: OpenIndex) -> OpenIndex:
    if not index.explains:
        raise ParamsError(f"rerank: {kind} needs visual words, and the index holds global vectors; leave it out")
    return index


def _of_vectors(kind: str, index: OpenIndex) -> OpenIndex:
    if index.explains:
        raise ParamsError(f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out")
    return index
