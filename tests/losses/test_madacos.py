from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.madacos import cosine_logits, madacos


def draw(
    samples: int, classes: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines in (−1, 1) and labels."""
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(samples, classes, generator=generator, dtype=dtype) - 1
    return cosines, torch.randint(classes, (samples,), generator=generator)


def by_definition(cosines: np.ndarray, labels: np.ndarray, alpha: float) -> tuple[np.ndarray, float, float, float]:
    """The formula, sample by sample."""
    targets = [row[label] for row, label in zip(cosines, labels, strict=True)]
    median = sorted(targets)[(len(targets) - 1) // 2]
    middle = targets.index(median)
    scale = max(32.0, np.log(9_999_999 * (1 - alpha) / alpha) / (1 - median))
    others = np.logaddexp.reduce(scale * np.delete(cosines[middle], labels[middle]))  # ln Σ exp without overflow
    margin = max(0.0, median - (others + np.log(alpha / (1 - alpha))) / scale)
    logits = scale * cosines
    for row, label in zip(logits, labels, strict=True):
        row[label] -= scale * margin
    return logits, scale, margin, median


@pytest.mark.parametrize("phase", ["early", "late"])
def test_everything_against_the_reference(fixtures, phase):
    with np.load(fixtures / "cfcd.npz") as file:
        parity = {name.removeprefix(f"{phase}_"): file[name] for name in file if name.startswith(phase)}
    cosines = torch.from_numpy(parity["cosine"]).requires_grad_()
    labels = torch.from_numpy(parity["label"])
    found = madacos(cosines, labels)
    loss = F.cross_entropy(found.logits, labels)
    loss.backward()
    np.testing.assert_allclose(found.logits.detach(), parity["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(cosines.grad, parity["grad"], rtol=0, atol=1e-5)
    assert found.scale.item() == pytest.approx(float(parity["scale"]), rel=1e-6)
    assert found.margin.item() == pytest.approx(float(parity["margin"]), abs=1e-6)
    assert found.median.item() == pytest.approx(float(parity["median"]), abs=1e-7)
    assert loss.item() == pytest.approx(float(parity["ce"]), abs=1e-5)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(2, 6), st.floats(0.01, 0.5), st.integers(0, 1000))
def test_against_the_definition(samples, classes, alpha, seed):
    cosines, labels = draw(samples, classes, seed)
    logits, scale, margin, median = by_definition(cosines.numpy().copy(), labels.numpy(), alpha)
    found = madacos(cosines, labels, alpha)
    if median < 0.999:
        np.testing.assert_allclose(found.logits, logits, rtol=1e-9, atol=1e-9)
        assert found.scale.item() == pytest.approx(scale) and found.margin.item() == pytest.approx(margin)
    assert found.median.item() == median


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_the_median_samples_target_has_probability_alpha_where_there_is_a_margin(alpha):
    cosines, labels = draw(7, 20, seed=1)
    cosines[torch.arange(7), labels] = torch.linspace(0.6, 0.9, 7, dtype=torch.float64)
    cosines = cosines.clamp_max(0.4).scatter(1, labels[:, None], cosines.gather(1, labels[:, None]))
    found = madacos(cosines, labels, alpha)
    assert found.margin > 0
    assert found.logits[3].softmax(dim=0)[labels[3]].item() == pytest.approx(alpha)


def test_scale_and_margin_grow_with_the_median():
    cosines, labels = draw(8, 10, seed=2)
    others = 0.3 * cosines
    found = [madacos(others.scatter(1, labels[:, None], median), labels) for median in (0.2, 0.4, 0.6, 0.8, 0.95)]
    for step in ("scale", "margin"):
        values = [getattr(each, step).item() for each in found]
        assert values == sorted(values) and len(set(values)) > 3


@settings(deadline=None)
@given(st.sampled_from([0.99, 0.9995, 1.0, 1.0000001]), st.sampled_from([-1.0, 0.0, 1.0]))
def test_all_is_finite_as_the_median_nears_one(target, other):
    labels = torch.tensor([0, 1, 2])
    cosines = torch.full((3, 5), other).scatter(1, labels[:, None], target).requires_grad_()
    found = madacos(cosines, labels)
    F.cross_entropy(found.logits, labels).backward()
    for value in (*found, cosines.grad):
        assert torch.isfinite(value).all()
    assert found.scale <= 20_011 and found.margin >= 0


def test_no_gradient_passes_through_scale_and_margin():
    cosines, labels = draw(6, 5, seed=3)
    cosines.requires_grad_()
    found = madacos(cosines, labels)
    assert not (found.scale.requires_grad or found.margin.requires_grad or found.median.requires_grad)
    upstream = torch.rand(6, 5, dtype=torch.float64)
    found.logits.backward(upstream)
    torch.testing.assert_close(cosines.grad, found.scale * upstream)


def test_fixed_logits_move_the_target_only():
    cosines, labels = draw(5, 4, seed=4)
    logits = cosine_logits(cosines, labels, 30.0, 0.3)
    for i in range(5):
        for j in range(4):
            assert logits[i, j].item() == pytest.approx(30 * (cosines[i, j].item() - (0.3 if j == labels[i] else 0)))


def compute_as_rank(rank: int, folder: Path) -> None:
    """What one of two ranks computes of its half of the batch; in a forked process, where torch is imported already."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(5 * rank, 5 * rank + 5)
    with np.load(folder / "batch.npz") as batch:
        found = madacos(torch.from_numpy(batch["cosines"][half]), torch.from_numpy(batch["labels"][half]))
    np.savez(folder / f"{rank}.npz", **{name: value.numpy() for name, value in found._asdict().items()})
    dist.destroy_process_group()


def test_two_ranks_make_of_two_halves_what_one_makes_of_the_whole(tmp_path):
    cosines, labels = draw(10, 6, seed=5)
    cosines = cosines.scatter(1, labels[:, None], 0.5 + 0.5 * draw(10, 1, seed=6)[0].abs())
    np.savez(tmp_path / "batch.npz", cosines=cosines.numpy(), labels=labels.numpy())
    fork = get_context("fork")
    ranks = [fork.Process(target=compute_as_rank, args=(rank, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    assert [process.exitcode for process in ranks] == [0, 0]
    whole = madacos(cosines, labels)
    halves = [madacos(cosines[half], labels[half]) for half in (slice(5), slice(5, 10))]
    assert any(half.scale != whole.scale for half in halves), "halves alone would not do"
    parts = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate([part["logits"] for part in parts]), whole.logits)
    for name in ("scale", "margin", "median"):
        assert parts[0][name] == parts[1][name] == getattr(whole, name).item()
