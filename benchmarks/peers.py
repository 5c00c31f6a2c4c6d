"""The `asmk` package of HOW's authors, called with the same arrays."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import LrcrError
from lrcr.retrieval.asmk.aggregation import Aggregated

try:
    from asmk import hamming
    from asmk.inverted_file import IVF
    from asmk.kernel import ASMKKernel
except ImportError:
    raise LrcrError("asmk: not installed; run `python -m uv pip install --no-deps asmk`") from None


def kernel(centroids: npt.NDArray[np.float32]) -> Any:
    """Aggregation and similarity of `asmk`, with sign bits."""
    return ASMKKernel(SimpleNamespace(centroids=centroids), binary=True)


def empty_inverted_file(words: int) -> Any:
    """An inverted file of `asmk`."""
    return IVF.initialize_empty(codebook_size=words, use_idf=False)


def pack(postings: Aggregated) -> npt.NDArray[Any]:
    """The sign bits of postings, packed as `asmk` packs them."""
    parts = [postings.vectors[first : first + 65536] for first in range(0, len(postings.vectors), 65536)]
    return np.concatenate([hamming.binarize_and_pack_2D(_signs(part, postings.dim)) for part in parts])


def _signs(codes: npt.NDArray[np.uint64], dim: int) -> npt.NDArray[np.float32]:
    bits = np.unpackbits(codes.view(np.uint8), axis=1, bitorder="little")[:, :dim]
    return bits.astype(np.float32) * 2 - 1
