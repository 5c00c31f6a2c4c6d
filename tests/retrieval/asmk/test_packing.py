import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.retrieval.asmk.packing import BLOCK, pack_ids, unpack_block


def unpack(packed, starts, offsets):
    """The ids of every word, or None where a block is damaged."""
    lists = []
    for word in range(len(offsets) - 1):
        ids, place = [], starts[word]
        for first in range(offsets[word], offsets[word + 1], BLOCK):
            block = np.zeros(BLOCK, np.uint32)
            size = min(BLOCK, offsets[word + 1] - first)
            place = unpack_block(packed, place, starts[word + 1], size, block)
            if place < 0:
                return None
            ids.extend(block[:size].tolist())
        assert place == starts[word + 1], "the blocks fill the word's share exactly"
        lists.append(ids)
    return lists


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([0, 1, 2, 3, 127, 128, 129, 300]), max_size=6),
    highest=st.sampled_from([300, 1000, 2**16, 2**31, 2**32 - 1]),
)
def test_what_is_packed_comes_back(seed, sizes, highest):
    rng = np.random.default_rng(seed)
    lists = [np.unique(rng.integers(0, highest + 1, size)).tolist() for size in sizes]
    offsets = np.cumsum([0, *map(len, lists)])
    ids = np.array([i for ids in lists for i in ids], np.uint32)
    packed, starts = pack_ids(ids, offsets)
    assert unpack(packed, starts, offsets) == lists


@pytest.mark.parametrize("ids", [[0, 2**32 - 1], [2**32 - 1], [0, 1], [7], [5, 5, 5]])
def test_the_ends_of_the_range(ids):
    offsets = np.array([0, len(ids)])
    assert unpack(*pack_ids(np.array(ids, np.uint32), offsets), offsets) == [ids]


def test_neighbouring_ids_take_a_bit_each():
    packed, starts = pack_ids(np.arange(256, dtype=np.uint32), np.array([0, 256]))
    assert starts.tolist() == [0, 6]  # two blocks of a header and 127 bits
    assert len(packed) == 7


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 5))
def test_damaged_blocks_are_refused_or_give_other_ids_and_nothing_worse(seed, flips):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(5000, 300, replace=False)).astype(np.uint32)
    offsets = np.array([0, 200, 300])
    packed, starts = pack_ids(ids, offsets)
    for _ in range(flips):
        packed[rng.integers(len(packed))] ^= np.uint64(1) << np.uint64(rng.integers(64))
    block = np.zeros(BLOCK, np.uint32)
    for word, size in ((0, 128), (1, 100)):
        following = unpack_block(packed, starts[word], starts[word + 1], size, block)
        assert following == -1 or starts[word] < following <= starts[word + 1]
