"""Sign bits of vectors, packed into 64-bit words: bit d % 64 of column d // 64 is set where component d is above 0."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import BITS, columns
from lrcr.runtime.jit import serial


def pack_signs(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint64]:
    """The sign bits of rows of shape (N, D): of shape (N, ⌈D/64⌉); bits beyond D are not set."""
    bits = np.zeros((len(rows), BITS * columns(rows.shape[1], binary=True)), bool)
    bits[:, : rows.shape[1]] = rows > 0
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


@serial
def popcount(bits: np.uint64) -> np.uint64:
    """The number of set bits of a 64-bit word; the compiler turns this pattern into one instruction of the CPU."""
    pairs = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    nibbles = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    octets = (nibbles + (nibbles >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (octets * np.uint64(0x0101010101010101)) >> np.uint64(56)
