"""Several labels an example: the worked number, binary divergences one by one, average precision by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor

import understudy as us
from understudy.objectives.average_precision import average_precision
from understudy.objectives.multi_label import binary_cross_entropy, binary_kl, several_labels

T = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)


def drawn(rows: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_of(rows: int, classes: int, seed: int) -> Tensor:
    return torch.randint(2, (rows, classes), generator=torch.Generator().manual_seed(seed))


def test_the_worked_number() -> None:
    found = binary_kl(T, S)
    assert found.tolist() == pytest.approx([0.103761, 0.126852, 0.115514], abs=5e-7)
    assert found.mean().item() == pytest.approx(0.115376, abs=5e-7)
    t, s = T.sigmoid(), S.sigmoid()
    by_hand = (t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()).sum(1)
    torch.testing.assert_close(found, by_hand)


def test_it_is_zero_at_equal_logits_only_and_adds_over_labels() -> None:
    t, s = drawn(5, 4, 0), drawn(5, 4, 1)
    assert binary_kl(t, t).abs().max() == 0
    assert binary_kl(t, t + 1).min() > 1e-3  # a constant is no matter to softmax
    torch.testing.assert_close(binary_kl(t, s) - binary_kl(t[:, :3], s[:, :3]), binary_kl(t[:, 3:], s[:, 3:]))
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(binary_kl(t[:, order], s[:, order]), binary_kl(t, s))


def test_its_gradient_is_the_difference_of_the_answers() -> None:
    t, s = drawn(5, 4, 0).requires_grad_(), drawn(5, 4, 1).requires_grad_()
    gradient, none = torch.autograd.grad(binary_kl(t, s).sum(), (s, t), allow_unused=True)
    torch.testing.assert_close(gradient, s.sigmoid() - t.sigmoid())
    assert none is None


def test_a_teacher_that_is_certain_gives_the_cross_entropy() -> None:
    s, y = drawn(5, 4, 1), labels_of(5, 4, 0)
    torch.testing.assert_close(binary_kl(100.0 * (2 * y - 1).double(), s), binary_cross_entropy(s, y))


def test_cross_entropy_is_torchs() -> None:
    s, y = drawn(5, 4, 1), labels_of(5, 4, 0)
    expected = F.binary_cross_entropy(s.sigmoid(), y.double(), reduction="none").sum(1)
    torch.testing.assert_close(binary_cross_entropy(s, y), expected)
    assert binary_cross_entropy(s.bfloat16(), y).dtype == torch.float32


def test_other_labels_are_refused() -> None:
    batch = us.Batch({"clean": torch.rand(3, 2)}, torch.arange(3))
    with pytest.raises(us.InputError, match="the batch has none"):
        several_labels(S, batch)
    one = us.Batch({"clean": torch.rand(3, 2)}, torch.arange(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(us.InputError, match=r"needs several labels an example, \(3, 3\) .* shape \(3,\)"):
        several_labels(S, one)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    scores, labels = drawn(60, 5, 3), labels_of(60, 5, 4)
    if ties:
        scores = scores.round()
    expected = [
        average_precision_score(np.asarray(y), np.asarray(s))
        for y, s in zip(labels.t(), scores.t(), strict=True)
    ]
    assert average_precision(scores, labels).tolist() == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_a_class_without_an_example_is_not_a_number() -> None:
    labels = torch.tensor([[1, 0], [0, 0], [1, 0]])
    found = average_precision(torch.tensor([[0.9, 0.1], [0.1, 0.2], [0.5, 0.3]]), labels)
    assert found[0] == 1
    assert found[1].isnan()
    assert found.nanmean() == 1


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises((us.InputError, TypeError)):
        average_precision(torch.rand(3, 2), torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(us.InputError, match="a score is NaN"):
        average_precision(torch.full((3, 2), torch.nan), labels_of(3, 2, 0))
