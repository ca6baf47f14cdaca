"""What a kind and a weight mean, and the limits that the closed forms keep to."""

from __future__ import annotations

import math

import pytest
import torch

from understudy.objectives.divergences_terms import Kind, ceiling, compare, mirror, probabilities, resolve

FAMILY: list[tuple[Kind, float]] = [
    ("forward_kl", 0.0),
    ("reverse_kl", 0.0),
    ("jsd", 0.3),
    ("skew_forward_kl", 0.2),
    ("skew_reverse_kl", 0.2),
    ("total_variation", 0.0),
]
each = pytest.mark.parametrize(("kind", "weight"), FAMILY)


def test_resolve_names_the_divergence_that_is_meant() -> None:
    assert resolve("jsd", 0.0) == ("forward_kl", 0.0)
    assert resolve("jsd", 1.0) == ("reverse_kl", 0.0)
    assert resolve("jsd", 0.25) == ("jsd", 0.25)
    assert resolve("skew_forward_kl", 1) == ("skew_forward_kl", 1.0)
    assert resolve("total_variation", None) == ("total_variation", 0.0)


@each
def test_mirror_exchanges_the_sides(kind: Kind, weight: float) -> None:
    t, s = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, _ = compare(kind, weight, *probabilities(t, s, 1.0), slope=False)
    there, _ = compare(*mirror(kind, weight), *probabilities(s, t, 1.0), slope=False)
    torch.testing.assert_close(here, there)
    assert mirror(*mirror(kind, weight)) == (kind, pytest.approx(weight))


@each
def test_ceiling_is_reached_by_disjoint_sides(kind: Kind, weight: float) -> None:
    t, s = torch.tensor([0.0, 1.0, -math.inf]), torch.tensor([-math.inf, -math.inf, 0.0])
    value, _ = compare(kind, weight, *probabilities(t, s, 1.0), slope=False)
    assert value.item() == pytest.approx(ceiling(kind, weight), rel=1e-6)
    assert value.item() <= ceiling(kind, weight) * (1 + 1e-7)


@each
def test_a_slope_sums_to_nothing(kind: Kind, weight: float) -> None:
    """A constant added to the logits changes no probability."""
    t, s = 3 * torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, slope = compare(kind, weight, *probabilities(t, s, 1.0), slope=True)
    assert slope is not None
    torch.testing.assert_close(slope.sum(-1), torch.zeros(20, dtype=torch.float64), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_probabilities(dtype: torch.dtype) -> None:
    t, s = torch.tensor([[1e4, -1e4], [0.5, -math.inf]], dtype=dtype), torch.zeros(2, 2, dtype=dtype)
    p, q, ratio = probabilities(t, s, 2.0)
    assert p.dtype == torch.promote_types(dtype, torch.float32)
    assert p.tolist() == [[1, 0], [1, 0]]
    assert q.tolist() == [[0.5, 0.5]] * 2
    gap = (t.double()[0, 0] - t.double()[0, 1]).item() / 2
    expected = [[-math.log(2), gap - math.log(2)], [-math.log(2), math.inf]]
    torch.testing.assert_close(ratio.double(), torch.tensor(expected, dtype=torch.float64))
    assert (probabilities(t, t, 1.0)[2] == 0).all()
