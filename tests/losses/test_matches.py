import torch
from hypothesis import given
from hypothesis import strategies as st

from lrcr.losses.matches import mutual_nearest_neighbours


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 100))
def test_mutually_nearest_pairs_are_so_from_both_sides(n, m, seed):
    a, b = draw(n, 3, seed=seed), draw(m, 3, seed=seed + 1)
    rows, others = mutual_nearest_neighbours(a, b)
    similarity = (a @ b.T).numpy()
    expected = {
        (i, j) for i in range(n) for j in range(m) if j == similarity[i].argmax() and i == similarity[:, j].argmax()
    }
    assert set(zip(rows.tolist(), others.tolist(), strict=True)) == expected and expected
