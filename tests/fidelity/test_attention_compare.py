"""Comparing maps: the worked overlap, scipy's rank correlation and entropy, and what each does not change with."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from understudy.errors import InputError
from understudy.fidelity.attention_compare import (
    map_divergence,
    overlap,
    overlap_in_batches,
    rank_correlation,
    rescaled,
)

A = torch.tensor([[[0.0, 1, 2, 3], [1, 2, 3, 4], [0, 0, 1, 2], [0, 0, 0, 1]]])
B = torch.tensor([[[0.0, 0, 1, 1], [0, 2, 4, 2], [1, 2, 3, 1], [0, 0, 0, 0]]])
FLAT = torch.full((1, 4, 4), 0.1)


def maps(seed: int, many: int = 7, height: int = 5, width: int = 6) -> torch.Tensor:
    return torch.randn(many, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_worked_overlap() -> None:
    assert overlap([A, B]).item() == 3 / 8
    assert overlap_in_batches([A, B]) == 3 / 8


def test_overlap_is_its_loop() -> None:
    one, two, three = (maps(seed) for seed in range(3))
    found = overlap([one, two, three], 0.5)
    for b in range(7):
        scaled = [(m[b] - m[b].min()) / (m[b].max() - m[b].min()) for m in (one, two, three)]
        places = [{i for i, v in enumerate(m.flatten().tolist()) if v > 0.5} for m in scaled]
        shared, covered = set.intersection(*places), set.union(*places)
        assert found[b].item() == pytest.approx(len(shared) / len(covered))
    assert (found <= overlap([one, two], 0.5)).all()


def test_what_does_not_change_the_overlap() -> None:
    one, two = maps(0), maps(1)
    value = overlap([one, two])
    assert torch.equal(overlap([two, one]), value)
    assert torch.equal(overlap([3e-9 * one, two * 100 + 7]), value)
    assert torch.equal(overlap([one, one]), torch.ones(7, dtype=torch.float64))
    assert not torch.equal(overlap([one, two], 0.6), value)
    assert overlap([FLAT, FLAT]).item() == 1  # nothing above the threshold, in both
    assert overlap([FLAT, A]).item() == 0


def test_batches_count_places_not_examples() -> None:
    one, two = maps(0, many=5), maps(1, many=5)
    total = 0.0
    for cut in (slice(0, 2), slice(2, 4), slice(4, 5)):
        a, b = rescaled(one[cut]) > 0.4, rescaled(two[cut]) > 0.4
        total += len(a) * float((a & b).sum() / (a | b).sum())
    assert overlap_in_batches([one, two], 0.4, batch=2) == pytest.approx(total / 5)
    assert overlap_in_batches([one, two], batch=1) == pytest.approx(overlap([one, two]).mean().item())
    assert overlap_in_batches([one, two]) != pytest.approx(overlap([one, two]).mean().item(), abs=1e-4)
    assert overlap_in_batches([FLAT, FLAT]) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rank_correlation_is_scipy_s(dtype: torch.dtype) -> None:
    one = maps(0).relu().to(dtype)  # many ties
    two = (maps(1) + maps(0)).mul(2).round().to(dtype)
    found = rank_correlation(one, two)
    for b in range(7):
        expected = scipy.stats.spearmanr(one[b].flatten().double(), two[b].flatten().double()).statistic
        assert found[b].item() == pytest.approx(expected, abs=1e-9)


def test_what_does_not_change_the_rank_correlation() -> None:
    one, two = maps(0), maps(1) + maps(0)
    value = rank_correlation(one, two)
    assert torch.allclose(rank_correlation(one.exp(), two**3), value)
    assert torch.allclose(rank_correlation(one, -two), -value)
    assert torch.allclose(rank_correlation(one, 5 * one.sigmoid()), torch.ones(7, dtype=torch.float64))
    assert rank_correlation(A, FLAT).isnan().all()
    strided = one.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(rank_correlation(strided, two), value)


def test_divergence_is_scipy_s() -> None:
    one, two = maps(0), maps(1)
    found = map_divergence(one, two, smoothing=0.05)
    for b in range(7):
        p, q = (m[b].double().numpy() - m[b].min().item() for m in (one, two))
        p, q = (0.95 * m / m.sum() + 0.05 / 30 for m in (p, q))
        assert found[b].item() == pytest.approx(scipy.stats.entropy(p.ravel(), q.ravel()), abs=1e-6)
    assert not torch.allclose(found, map_divergence(two, one, smoothing=0.05), atol=1e-3)


def test_the_range_of_the_divergence() -> None:
    one = maps(0)
    assert map_divergence(one, one * 4 - 3).max() < 1e-9
    corner, other = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    corner[0, 0, 0] = other[0, 3, 3] = 1
    apart = map_divergence(corner, other, 0.01)
    assert 0.9 * np.log(1600) < apart < np.log(1600)
    even = map_divergence(FLAT, corner, 0.01)
    q = np.full(16, 0.01 / 16)
    q[0] += 0.99
    assert even.item() == pytest.approx(scipy.stats.entropy(np.full(16, 1 / 16), q))


def test_enlarging_is_bilinear_and_comes_first() -> None:
    one = maps(0)
    found = rescaled(one, (10, 12))
    larger = torch.nn.functional.interpolate(one[:, None], (10, 12), mode="bilinear")[:, 0]
    low, high = larger.amin((1, 2), keepdim=True), larger.amax((1, 2), keepdim=True)
    assert torch.allclose(found, ((larger - low) / (high - low)).double(), atol=1e-5)
    assert found.amin((1, 2)).eq(0).all()
    assert found.amax((1, 2)).eq(1).all()
    assert not rescaled(FLAT, (9, 9)).any()


@pytest.mark.usefixtures("unchecked")
def test_maps_that_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="two maps at least, found 1"):
        overlap([A])
    for compare in (rank_correlation, map_divergence, lambda a, b: overlap([a, b])):
        with pytest.raises(InputError, match=r"one shape, found \[\(1, 3, 4\), \(1, 4, 4\)\]"):
            compare(A, B[:, :3])
        with pytest.raises(InputError, match="must be finite"):
            compare(A, B / 0)
    with pytest.raises(InputError, match="must be floats"):
        rescaled(A.long())
    with pytest.raises(InputError, match="must be floats"):
        rescaled(A[:0])
    for threshold in (-0.1, 1, float("nan")):
        with pytest.raises(InputError, match="threshold"):
            overlap([A, B], threshold)
    for smoothing in (0, 1):
        with pytest.raises(InputError, match="smoothing"):
            map_divergence(A, B, smoothing)
    with pytest.raises(InputError, match="1 example at least, found 0"):
        overlap_in_batches([A, B], batch=0)
