"""Gradient rescaling against autograd and worked numbers, difficulty against SciPy, and examples of a known kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.rescaling import EpochsWrong, rank_correlation, rescaling

T = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
Y = torch.tensor([0, 1, 2])


def sample(seed: int, n: int = 40, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    t, s = 2 * torch.randn(2, n, classes, generator=draw, dtype=torch.float64)
    return t, s, torch.randint(0, classes, (n,), generator=draw)


def test_worked_numbers() -> None:
    found = rescaling(T, S, Y, mixing=0.5)
    for got, expected in (
        (found.teacher_confidence, [0.785597, 0.635435, 0.790165]),
        (found.student_confidence, [0.489749, 0.351372, 0.571258]),
        (found.omega, [0.789904, 0.718972, 0.755291]),
    ):
        torch.testing.assert_close(got, torch.tensor(expected).double(), atol=1e-6, rtol=0)
    assert found.teacher_right.tolist() == [True, True, True]
    assert found.student_right.tolist() == [True, False, True]


@given(
    st.integers(0, 2**20),
    st.integers(2, 6),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1.0, 0.5, 4.0]),
)
@settings(max_examples=25, deadline=None)
def test_against_autograd(seed: int, classes: int, mixing: float, temperature: float) -> None:
    t, s, y = sample(seed, classes=classes)
    s.requires_grad_()
    hard = F.cross_entropy(s, y, reduction="sum")
    soft = F.cross_entropy(s / temperature, (t / temperature).softmax(1), reduction="sum")
    (plain,) = torch.autograd.grad(hard, s, retain_graph=True)
    (mixed,) = torch.autograd.grad((1 - mixing) * hard + mixing * soft, s)
    found = rescaling(t, s, y, mixing=mixing, temperature=temperature)
    rows = torch.arange(len(y))
    torch.testing.assert_close(found.omega, mixed[rows, y] / plain[rows, y], atol=1e-9, rtol=1e-9)
    expected = mixed.abs().sum(1) / plain.abs().sum(1)
    torch.testing.assert_close(found.gradient_ratio, expected, atol=1e-9, rtol=1e-9)


def test_the_whole_gradient_has_the_same_ratio_where_no_wrong_class_should_rise() -> None:
    t, s, y = sample(1, n=200, classes=3)
    found = rescaling(t, s, y, mixing=0.4)
    target = 0.4 * t.softmax(1) + 0.6 * F.one_hot(y, 3)
    falls = ((s.softmax(1) >= target) | (F.one_hot(y, 3) == 1)).all(1)
    assert 20 < int(falls.sum()) < 180
    torch.testing.assert_close(found.gradient_ratio[falls], found.omega[falls])
    assert (found.gradient_ratio[~falls] > found.omega[~falls]).all()


def test_reductions() -> None:
    t, s, y = sample(2)
    assert (rescaling(t, s, y, mixing=0.0).omega == 1.0).all()
    assert (rescaling(t, s, y, mixing=0.0).gradient_ratio - 1.0).abs().max() < 1e-12
    same = rescaling(s, s, y, mixing=0.3)
    torch.testing.assert_close(same.omega, torch.full((40,), 0.7, dtype=torch.float64))
    sure = rescaling(1e4 * F.one_hot(y, 5).double(), s, y, mixing=0.3)  # a teacher that says the label
    torch.testing.assert_close(sure.omega, torch.ones(40, dtype=torch.float64))
    plain, moved = rescaling(t, s, y), rescaling(t + 3.0, s - 2.0, y)
    torch.testing.assert_close(plain.omega, moved.omega)
    assert (plain.omega <= 1.0).all()
    surer = plain.teacher_confidence > plain.student_confidence
    assert ((plain.omega > 0.5) == surer).all()


def test_digits_where_the_student_is_sure() -> None:
    """1 - q_t = e^-60, which 1 - q_t itself cannot hold: the ratio is known from the logits alone."""
    s, t = torch.tensor([[60.0, 0.0]]).double(), torch.tensor([[58.0, 0.0]]).double()
    found = rescaling(t, s, torch.tensor([0]), mixing=0.1)
    assert float(found.omega) == pytest.approx(1 - 0.1 * np.exp(2), rel=1e-12)
    with pytest.raises(InputError, match="too sure of example 0"):
        rescaling(-t, torch.tensor([[800.0, 0.0]]).double(), torch.tensor([0]))


def test_wrong_labels_weigh_less() -> None:
    """A teacher that knows better: examples whose label was changed have a far smaller omega."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 4, (400,), generator=draw)
    t = 4 * F.one_hot(truth, 4) + torch.randn(400, 4, generator=draw)
    s = torch.randn(400, 4, generator=draw)
    changed = torch.rand(400, generator=draw) < 0.2
    found = rescaling(t, s, torch.where(changed, (truth + 1) % 4, truth))
    assert float(found.omega[changed].mean()) < float(found.omega[~changed].mean()) - 0.3


def test_difficulty_in_pieces_against_a_loop() -> None:
    seen, wrong = EpochsWrong(40), [0] * 40
    t, _, y = sample(3)
    for epoch in range(4):
        said = t + epoch * sample(10 + epoch)[0]
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(16):
            seen.update(rows, said[rows], y[rows])
        for i in range(40):
            wrong[i] += int(said[i].argmax()) != int(y[i])
    assert seen.wrong.tolist() == wrong
    torch.testing.assert_close(seen.share(), torch.tensor(wrong).double() / 4)
    twice = EpochsWrong(2)
    twice.update(torch.tensor([1, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    assert (twice.wrong.tolist(), twice.seen.tolist()) == ([0, 1], [0, 2])
    with pytest.raises(InputError, match="example 0 has never been answered"):
        twice.share()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
@settings(max_examples=30, deadline=None)
def test_rank_correlation_against_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    found = rank_correlation(a, b)
    if min(len(a.unique()), len(b.unique())) == 1:
        assert found is None
        return
    assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, (3 * a).exp()) == pytest.approx(1.0)


def test_bad_input() -> None:
    seen = EpochsWrong(3)
    for call, match in (
        (lambda: rescaling(T, S, Y, mixing=1.1), "weight of the teacher's answers"),
        (lambda: rescaling(T, S, Y, temperature=0.0), "temperature"),
        (lambda: rescaling(T, S, Y + 1), r"labels must lie in 0\.\.2"),
        (lambda: rescaling(T / 0, S, Y), "finite"),
        (lambda: rescaling(T[:, :1], S[:, :1], Y * 0), "one class"),
        (lambda: seen.update(Y + 1, S, Y), r"places in 0\.\.2"),
        (lambda: seen.update(Y - 1, S, Y), r"places in 0\.\.2"),
        (lambda: EpochsWrong(0), "found 0"),
        (lambda: rank_correlation(T[0, :1], T[1, :1]), "2 examples or more"),
        (lambda: rank_correlation(T[0] / 0, T[1]), "finite"),
    ):
        with pytest.raises(InputError, match=match):
            call()
    assert int(seen.seen.sum()) == 0
