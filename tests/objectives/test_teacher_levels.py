"""Parts of what a teacher says: the worked numbers, what they reduce to, and rows that sum to 1."""

from __future__ import annotations

import pytest
import torch

from understudy.errors import InputError
from understudy.objectives.refined_targets import soft_cross_entropy
from understudy.objectives.teacher_levels import class_relations, partial_targets, top_targets

TEACHER = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
STUDENT = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2])
WEIGHTS = torch.tensor([[1, 0], [0.6, 0.8], [0, 1]], dtype=torch.float64)
MANY = 3 * torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
THEIRS = torch.arange(20) % 6


def check_rows(targets: torch.Tensor) -> None:
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets), dtype=targets.dtype))


def test_the_worked_numbers() -> None:
    wanted = [[0.785597, 0.107201, 0.107201], [0.182283, 0.635435, 0.182283], [0.104917, 0.104917, 0.790165]]
    targets = partial_targets(TEACHER, LABELS)
    torch.testing.assert_close(targets, torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)
    assert soft_cross_entropy(targets, STUDENT).mean().item() == pytest.approx(0.916074, abs=1e-6)
    related = class_relations(WEIGHTS, 0.3)
    wanted = [[0.769662, 0.202881, 0.027457], [0.148337, 0.562742, 0.288921], [0.023029, 0.331431, 0.645540]]
    torch.testing.assert_close(related, torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)
    assert soft_cross_entropy(related, STUDENT).mean().item() == pytest.approx(0.963144, abs=1e-6)


def test_confidence_in_the_label_alone() -> None:
    targets, p = partial_targets(MANY, THEIRS), MANY.softmax(1)
    check_rows(targets)
    torch.testing.assert_close(targets[torch.arange(20), THEIRS], p[torch.arange(20), THEIRS])
    torch.testing.assert_close(partial_targets(MANY + 7, THEIRS), targets)  # logits have no zero
    torch.testing.assert_close(partial_targets(MANY[:, :2], THEIRS % 2), MANY[:, :2].softmax(1))
    even = partial_targets(torch.zeros(20, 6, dtype=torch.float64), THEIRS)  # a teacher that knows nothing
    torch.testing.assert_close(even, torch.full_like(even, 1 / 6))
    sure = torch.zeros(20, 6, dtype=torch.float64).scatter(1, THEIRS[:, None], 800.0)
    torch.testing.assert_close(partial_targets(sure, THEIRS).argmax(1), THEIRS)
    assert partial_targets(sure, THEIRS).max(1).values.eq(1).all()
    with pytest.raises(InputError, match="one class"):
        partial_targets(MANY[:, :1], torch.zeros(20, dtype=torch.int64))


def test_doubt_keeps_its_digits() -> None:
    """1 - p_y of a teacher that is all but sure: 5 exp(-30), which float32 loses in a difference."""
    sure = torch.zeros(1, 6).scatter(1, torch.tensor([[2]]), 30.0)
    found = partial_targets(sure, torch.tensor([2]))[0, 0].item()
    assert found == pytest.approx(torch.tensor(-30.0).exp().item(), rel=1e-4)


def test_relations_share_the_doubt() -> None:
    rows = class_relations(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double(), 0.3)[
        THEIRS
    ]
    targets, p = partial_targets(MANY, THEIRS, rows), MANY.softmax(1)
    check_rows(targets)
    torch.testing.assert_close(targets[torch.arange(20), THEIRS], p[torch.arange(20), THEIRS])
    others = torch.ones(20, 6).scatter(1, THEIRS[:, None], 0.0).bool()
    ratio = (targets / rows)[others].reshape(20, 5)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(20, 5))
    torch.testing.assert_close(
        partial_targets(MANY, THEIRS, torch.full((20, 6), 0.2)), partial_targets(MANY, THEIRS)
    )


def test_relations_know_directions_only() -> None:
    weights = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double()
    related = class_relations(weights, 0.3)
    check_rows(related)
    torch.testing.assert_close(class_relations(weights * torch.arange(1, 7)[:, None], 0.3), related)
    torch.testing.assert_close(class_relations(weights, 1e-3), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(
        class_relations(weights, 1e9), torch.full((6, 6), 1 / 6, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert class_relations(weights.bfloat16(), 0.3).dtype == torch.float32
    with pytest.raises(InputError, match="relations must be"):
        class_relations(weights, 0.0)


def test_the_largest() -> None:
    p = MANY.softmax(1)
    for k in (1, 2, 5):
        targets = top_targets(MANY, k)
        check_rows(targets)
        order = p.argsort(dim=1, descending=True)
        torch.testing.assert_close(targets.gather(1, order[:, :k]), p.gather(1, order[:, :k]))
        rest = targets.gather(1, order[:, k:])
        torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))
    torch.testing.assert_close(top_targets(MANY, 6), p)
    torch.testing.assert_close(top_targets(MANY, 99), p)
    torch.testing.assert_close(top_targets(MANY, 1), partial_targets(MANY, MANY.argmax(1)))
    tied = top_targets(torch.zeros(1, 4), 2)  # of equals the lowest are kept, and all stay equal
    torch.testing.assert_close(tied, torch.full((1, 4), 0.25))
    with pytest.raises(InputError, match="how many classes are kept"):
        top_targets(MANY, 0)
