"""The name that is most like another, for error messages: quick among many thousand names."""

import difflib
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

_COMPARED = 30  # names that are compared in full; comparing 20,000 takes seconds


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """The name that is most like `name`; None if none is like it.

    Only the names with the largest share of letter pairs in common (Dice coefficient; upper or lower case) are compared
    in full.
    """
    known = list(names)
    pairs, owners = _pairs(known)
    asked = np.unique(_pairs([name])[0])
    common = np.bincount(owners, np.isin(pairs, asked), len(known))
    share = common / (np.bincount(owners, minlength=len(known)) + len(asked))
    likely = np.argsort(-share, kind="stable")[:_COMPARED]
    return next(iter(difflib.get_close_matches(name, [known[i] for i in likely], n=1)), None)


def _pairs(names: list[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Each two neighbouring letters of some names as a number, the ends included, and the number of their name."""
    folded = [name.casefold() for name in names]
    letters = np.frombuffer("".join(f"/{text}" for text in [*folded, ""]).encode("utf-32-le", "surrogatepass"), "<u4")
    owners = np.repeat(np.arange(len(folded)), [len(text) + 1 for text in folded])
    return letters[:-1].astype(np.uint64) << np.uint64(32) | letters[1:], owners
