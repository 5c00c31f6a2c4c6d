"""Comparing evaluations; `import lrcr` shows the function `compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrcr.evaluation.evaluate import Result
    from lrcr.evaluation.seeds import Comparison, Side

    Evaluated = Result | Path | str


def compare(a: "Evaluated | Sequence[Evaluated]", b: "Evaluated | Sequence[Evaluated]") -> "dict[str, Comparison]":
    """Compare two methods in each setup: mAP of `a` minus that of `b`, with its interval over landmarks and seeds.

    Args:
        a: what `evaluate` returned, or a .csv of `lrcr evaluate --per-query`; of several seeds a list of these.
        b: the other method: as many seeds, in the same order.

    Raises:
        ArtifactError: a file is missing or damaged, or the evaluations are of different queries.

    Example:
        >>> import lrcr
        >>> large = lrcr.evaluate("photos", overrides=["extract.image_size=160"])
        >>> small = lrcr.evaluate("photos", overrides=["extract.image_size=96"])
        >>> difference = lrcr.compare(large, small)["medium"].difference
        >>> difference.low <= difference.mean <= difference.high
        True
    """
    from lrcr.evaluation.protocol import SETUPS
    from lrcr.evaluation.seeds import compare_seeds

    sides = _sides(a, "a"), _sides(b, "b")
    return {setup: compare_seeds(*sides, setup) for setup in SETUPS}


def _sides(given: "Evaluated | Sequence[Evaluated]", name: str) -> "list[Side]":
    from lrcr.evaluation.per_query import open_per_query
    from lrcr.evaluation.seeds import Side

    each: Any = given if isinstance(given, list | tuple) else [given]
    return [
        Side(str(one), open_per_query(Path(one))) if isinstance(one, str | Path) else Side(name, one.per_query)
        for one in each
    ]
