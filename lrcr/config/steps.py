"""Which steps of re-ranking an index can take; what the params decide of this is refused before any work."""

from lrcr.config.params import Params
from lrcr.errors import ParamsError

_VERIFYING, _OF_VECTORS = ("geometric", "words"), ("expansion", "superglobal", "diffusion")


def require_steps(params: Params) -> None:
    """Refuse steps that need what an index that is built with these params will not hold.

    Raises:
        ParamsError: a step does.
    """
    for step in params.rerank:
        require_step(step.kind, words=params.model.is_local, owned=params.index.local_descriptors != "none")


def require_step(kind: str, *, words: bool, owned: bool) -> None:
    """Refuse a step for an index of visual words, or of vectors, or for one that does not own its local descriptors.

    Raises:
        ParamsError: the index does not hold what the step needs.
    """
    if kind == "words" and not words:
        raise ParamsError(f"rerank: {kind} needs visual words, and the index holds global vectors; leave it out")
    if kind in _VERIFYING and not owned:
        raise ParamsError(f"rerank: {kind} needs local descriptors, which the index does not own; {owning(words)}")
    if kind in _OF_VECTORS and words:
        raise ParamsError(f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out")


def owning(words: bool) -> str:
    """How to get an index that owns local descriptors, in place of one of visual words, or of vectors."""
    model = "" if words else "a model that has local descriptors and "
    return f"build it with {model}index.local_descriptors: float16 or codes"
