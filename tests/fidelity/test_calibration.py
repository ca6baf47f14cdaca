"""Calibration against loops, scikit-learn, numpy and hand-worked numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity import calibration as c
from understudy.fidelity.agreement import top1_agreement, top1_correct


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def sample(seed: int, n: int = 200, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t = 2 * torch.randn(n, classes, generator=generator)
    s = t + torch.randn(n, classes, generator=generator)
    return t, s, torch.randint(0, classes, (n,), generator=generator)


def of(probabilities: list[list[float]]) -> Tensor:
    """Logits with exactly these confidences."""
    return torch.tensor(probabilities, dtype=torch.float64).log()


def loop_ece(confidence: list[float], observed: list[float], bins: int) -> float:
    """Bin by bin with plain comparisons, as the definition reads."""
    total = 0.0
    for b in range(bins):
        inside = [
            i for i, v in enumerate(confidence) if b / bins < v <= (b + 1) / bins or (b == 0 and v == 0.0)
        ]
        total += abs(sum(confidence[i] for i in inside) - sum(observed[i] for i in inside))
    return total / len(confidence)


@given(st.integers(0, 2**20), st.sampled_from([1, 2, 10, 15]))
@settings(max_examples=15, deadline=None)
def test_ece_against_a_loop(seed: int, bins: int) -> None:
    t, s, labels = sample(seed)
    p, q = t.double().softmax(1), s.double().softmax(1)
    correct = [float(int(row.argmax()) == int(y)) for row, y in zip(q, labels, strict=True)]
    assert c.ece(s, labels, bins) == pytest.approx(loop_ece(q.amax(1).tolist(), correct, bins), abs=1e-12)
    seen = [float(a[int(b.argmax())]) for a, b in zip(p, q, strict=True)]
    assert c.relative_ece(t, s, bins) == pytest.approx(loop_ece(q.amax(1).tolist(), seen, bins), abs=1e-12)
    assert 0.0 <= c.relative_ece(t, s, bins) <= (q.amax(1) - torch.tensor(seen)).abs().mean() + 1e-12


def test_ece_worked_number() -> None:
    """The catalogue's: confidences .95, .92, .55, .35, right, wrong, right, wrong, 10 bins."""
    p = of([[0.95, 0.03, 0.02], [0.92, 0.04, 0.04], [0.55, 0.25, 0.2], [0.35, 0.33, 0.32]])
    assert c.ece(p, torch.tensor([0, 1, 0, 1]), 10) == pytest.approx(0.4175)


def test_nll_and_brier_against_sklearn() -> None:
    _, s, labels = sample(1)
    q, y = s.double().softmax(1).numpy(), labels.numpy()
    assert c.nll(s, labels) == pytest.approx(log_loss(y, q, labels=range(5)), rel=1e-12)
    expected = brier_score_loss(y, q, labels=list(range(5)), scale_by_half=False)
    assert c.brier(s, labels) == pytest.approx(expected, rel=1e-12)


def test_brier_and_nll_at_the_ends() -> None:
    sure = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert (c.brier(sure, right), c.brier(sure, wrong)) == (0.0, 2.0)
    assert (c.nll(sure, right), c.nll(sure, wrong)) == (0.0, 2e4)
    assert math.copysign(1, c.nll(sure, right)) == 1.0
    assert (c.ece(sure, right), c.ece(sure, wrong)) == (0.0, 1.0)


@pytest.mark.parametrize("bins", [3, 10, 15])
def test_edges_are_right_closed(bins: int) -> None:
    edges = torch.tensor([i / bins for i in range(bins + 1)], dtype=torch.float64)
    counts = [one.count for one in c.binned(edges, edges, bins)]
    assert counts == [2] + [1] * (bins - 1)  # 0.0 and the first edge in the first, 1.0 in the last
    above = torch.nextafter(edges[:-1], torch.tensor(2.0, dtype=torch.float64))
    assert [one.count for one in c.binned(above, above, bins)] == [1] * bins


def test_bins_of_a_worked_example() -> None:
    found = c.binned(torch.tensor([0.125, 0.5, 0.75, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]), 4)
    assert found == [
        c.Bin(0.0, 0.25, 1, 0.125, 0.0),
        c.Bin(0.25, 0.5, 1, 0.5, 1.0),
        c.Bin(0.5, 0.75, 1, 0.75, 1.0),
        c.Bin(0.75, 1.0, 1, 1.0, 0.0),
    ]
    empty = c.binned(torch.tensor([0.9]), torch.tensor([1.0]), 2)[0]
    assert (empty.count, empty.confidence, empty.observed) == (0, None, None)
    assert "NaN" not in json.dumps([dataclasses.asdict(one) for one in [*found[1:], empty]])


def test_confidence_one_counts_in_the_last_bin() -> None:
    bins = c.reliability(torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([0]))
    assert len(bins) == 15
    assert (bins[-1].count, bins[-1].confidence, bins[-1].observed) == (1, 1.0, 1.0)


def test_relative_measures_at_equality() -> None:
    t, _, _ = sample(2)
    assert c.relative_ece(t, t) == 0.0
    assert (c.confidence_differences(t, t) == 0).all()
    assert all(one.confidence == one.observed for one in c.relative_reliability(t, t))
    assert all(one.observed == 1.0 for one in c.agreement_by_confidence(t, t) if one.count)


def test_relative_measures_by_hand() -> None:
    teacher = of([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]])
    student = of([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    # student's classes 0 and 1 at .5 and .7, where the teacher says .7 and .3: two bins of ten
    assert c.relative_ece(teacher, student, 10) == pytest.approx((0.2 + 0.4) / 2)
    # one bin: the two gaps partly cancel
    assert c.relative_ece(teacher, student, 1) == pytest.approx(0.1)
    np.testing.assert_allclose(c.confidence_differences(teacher, student), [-0.2, -0.4], atol=1e-12)
    bins = c.agreement_by_confidence(teacher, student, 2)
    assert (bins[1].count, bins[1].confidence, bins[1].observed) == (2, pytest.approx(0.65), 0.5)


def test_histogram() -> None:
    t, s, _ = sample(3)
    edges, counts = c.difference_histogram(t, s)
    assert len(edges) == 42
    assert len(counts) == 41
    assert (edges[0], edges[20] + edges[21], edges[-1]) == (-1.0, 0.0, 1.0)
    np.testing.assert_allclose(edges, np.linspace(-1, 1, 42), atol=1e-15)
    assert counts == np.histogram(c.confidence_differences(t, s).numpy(), edges)[0].tolist()
    assert sum(counts) == 200


def test_histogram_ends() -> None:
    sure, unsure = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert c.difference_histogram(sure, unsure)[1][0] == 1  # -1 in the first bin
    assert c.difference_histogram(sure, sure)[1][20] == 1  # 0 in the middle one
    assert (
        c.difference_histogram(sure, sure, 41)[1][19] == 1
    )  # where 0 is an edge, in the bin that ends there


def test_agreement_and_correctness() -> None:
    t = torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    s = torch.tensor([[0.0, 5.0], [0.0, 1.0], [2.0, 2.0]])  # a tie is the lowest class in both
    assert top1_agreement(t, s).tolist() == [True, False, True]
    assert top1_correct(t, torch.tensor([1, 1, 0])).tolist() == [True, False, True]


@given(st.integers(0, 2**20))
@settings(max_examples=10, deadline=None)
def test_invariances(seed: int) -> None:
    t, s, labels = sample(seed, n=60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(top1_agreement(t, s), top1_agreement(2.0 * t, s))
    assert c.ece(s[order], labels[order]) == pytest.approx(c.ece(s, labels), abs=1e-12)
    assert c.relative_ece(t[order], s[order]) == pytest.approx(c.relative_ece(t, s), abs=1e-12)
    assert c.nll((s.double() + 3.0), labels) == pytest.approx(c.nll(s, labels), abs=1e-6)
    for bins in (c.reliability(s, labels), c.relative_reliability(t, s), c.agreement_by_confidence(t, s)):
        assert sum(one.count for one in bins) == 60
        assert all(one.low <= one.confidence <= one.high for one in bins if one.confidence is not None)


def test_half_precision_logits_are_read_exactly() -> None:
    t, s, labels = sample(4)
    assert c.ece(s.bfloat16(), labels) == c.ece(s.bfloat16().double(), labels)
    assert c.relative_ece(t.half(), s.half()) == c.relative_ece(t.half().double(), s.half().double())


PAIRED = [c.relative_ece, c.relative_reliability, c.confidence_differences, c.difference_histogram]
PAIRED += [c.agreement_by_confidence, top1_agreement]
LABELLED = [c.ece, c.nll, c.brier, c.reliability, top1_correct]


@pytest.mark.usefixtures("plain_types")
@pytest.mark.parametrize("measure", PAIRED)
def test_bad_pairs(measure) -> None:
    good = torch.zeros(2, 3)
    for bad in (torch.zeros(2, 4), torch.zeros(1, 3), torch.zeros(3), torch.zeros(2, 3).long()):
        with pytest.raises(InputError):
            measure(good, bad)
    with pytest.raises(InputError, match="no example"):
        measure(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(InputError, match="student must be finite; row 1"):
        measure(good, torch.tensor([[0.0, 0.0, 0.0], [0.0, math.nan, 0.0]]))


@pytest.mark.usefixtures("plain_types")
@pytest.mark.parametrize("measure", LABELLED)
def test_bad_labels(measure) -> None:
    for bad, said in [
        (torch.tensor([0, 3]), r"0\.\.2 .*row 1 has 3"),
        (torch.tensor([-1, 0]), r"row 0 has -1"),
        (torch.tensor([0]), r"shape \(2,\)"),
        (torch.tensor([0.0, 1.0]), "integers"),
    ]:
        with pytest.raises(InputError, match=said):
            measure(torch.zeros(2, 3), bad)
    with pytest.raises(InputError, match="finite"):
        measure(torch.full((2, 3), math.inf), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="no example"):
        measure(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_bad_bins() -> None:
    t, s, labels = sample(5, n=4)
    with pytest.raises(InputError, match="bins"):
        c.ece(s, labels, 0)
    with pytest.raises(InputError, match="edges"):
        c.difference_histogram(t, s, 1)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        c.binned(torch.tensor([1.5]), torch.tensor([1.0]))
    with pytest.raises(InputError, match="finite"):
        c.binned(torch.tensor([0.5]), torch.tensor([math.nan]))
    with pytest.raises(InputError, match="empty"):
        c.expected_gap([])
