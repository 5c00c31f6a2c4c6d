"""The steps of re-ranking that the params name."""

from collections.abc import Sequence

from lrcr.config.params import Params
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
from lrcr.retrieval.backend import OpenIndex, has_words
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.rerank.blend import Blend
from lrcr.retrieval.rerank.diffusion import Diffusion
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.rerank.reranker import Reranker
from lrcr.retrieval.rerank.superglobal import SuperGlobal
from lrcr.retrieval.rerank.words import WordExpansion

_VERIFYING, _OF_VECTORS = ("geometric", "words"), ("expansion", "superglobal", "diffusion")


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
    return [_open_step(step, index, verifier) for step in params]


def open_verifier(params: Sequence[RerankParams], local: LocalDescriptors | None) -> Geometric | None:
    """The geometric step that the params name first, or else with its defaults; None without local descriptors."""
    if local is None:
        return None
    named = [each for each in params if each.kind == "geometric"]
    return Geometric(local, named[0] if named else GeometricParams(kind="geometric"))


def require_steps(params: Params) -> None:
    """Refuse steps that need what an index that is built with these params will not hold.

    Raises:
        ParamsError: a step does.
    """
    for step in params.rerank:
        _require(step.kind, words=has_words(params), owned=params.index.local_descriptors != "none")


def _open_step(params: RerankParams, index: OpenIndex, verifier: Geometric | None) -> Reranker:
    _require(params.kind, words=index.explains, owned=verifier is not None)
    match params:
        case ExpansionParams():
            return Expansion(index, params)
        case SuperGlobalParams():
            return SuperGlobal(index, params)
        case BlendParams():
            return Blend(index, params)
        case DiffusionParams():
            return Diffusion(index, params)
        case WordsParams():
            assert verifier is not None, "see _require"
            return WordExpansion(index, verifier, params)
        case GeometricParams():
            assert verifier is not None, "see _require"
            return Geometric(verifier.database, params)


def _require(kind: str, *, words: bool, owned: bool) -> None:
    """Refuse a step for an index of visual words, or of vectors, or for one that does not own its local descriptors."""
    if kind == "words" and not words:
        raise ParamsError(f"rerank: {kind} needs visual words, and the index holds global vectors; leave it out")
    if kind in _VERIFYING and not owned:
        model = "" if words else "a model that has local descriptors and "
        raise ParamsError(
            f"rerank: {kind} needs local descriptors, which the index does not own; build it with {model}"
            "index.local_descriptors: float16"
        )
    if kind in _OF_VECTORS and words:
        raise ParamsError(f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out")
