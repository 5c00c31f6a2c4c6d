import numpy as np
import pytest

from lrcr.retrieval.components import connected_components


def flood(images: int, edges: np.ndarray) -> list[int]:
    """The smallest id that can be reached from each image, by following edges until nothing changes."""
    smallest = list(range(images))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(smallest[a], smallest[b])
            changed |= smallest[a] != low or smallest[b] != low
            smallest[a] = smallest[b] = low
    return smallest


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_a_flood(seed):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, 40, (25, 2))
    found = connected_components(40, edges[:, 0], edges[:, 1])
    assert found.tolist() == flood(40, edges)
    assert len(set(found.tolist())) > 5


def test_a_long_chain_is_one_component_and_no_edges_leave_all_alone():
    chain = np.random.default_rng(0).permutation(99)
    assert (connected_components(100, chain, chain + 1) == 0).all()
    none = np.zeros(0, np.int64)
    assert connected_components(3, none, none).tolist() == [0, 1, 2]
