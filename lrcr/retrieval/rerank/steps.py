"""The steps of re-ranking that the params name."""

from collections.abc import Sequence

from lrcr.config.rerank import (
    BlendParams,
    DiffusionParams,
    ExpansionParams,
    GeometricParams,
    RerankParams,
    SuperGlobalParams,
    WordsParams,
)
from lrcr.config.steps import require_step
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.local import LocalDescriptors
from lrcr.retrieval.rerank.blend import Blend
from lrcr.retrieval.rerank.diffusion import Diffusion
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.geometric import Geometric
from lrcr.retrieval.rerank.reranker import Reranker
from lrcr.retrieval.rerank.superglobal import SuperGlobal
from lrcr.retrieval.rerank.words import WordExpansion


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


def _open_step(params: RerankParams, index: OpenIndex, verifier: Geometric | None) -> Reranker:
    require_step(params.kind, words=index.explains, owned=verifier is not None)
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
            assert verifier is not None, "see require_step"
            return WordExpansion(index, verifier, params)
        case GeometricParams():
            assert verifier is not None, "see require_step"
            return Geometric(verifier.database, params)
