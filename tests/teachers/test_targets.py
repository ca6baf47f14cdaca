"""Sparse targets as tables, renormalised, and with labels mixed in."""

from __future__ import annotations

import pytest
import torch

from understudy.errors import InputError
from understudy.objectives.divergences import cross_entropy
from understudy.objectives.sparse_targets import sparse_cross_entropy
from understudy.teachers import SparseTargets

TARGETS = SparseTargets(torch.tensor([[2, 0], [1, 0]]), torch.tensor([[0.5, 0.3], [0.8, 0.0]]), 3)
LABELS = torch.tensor([1, 1])


def test_as_a_table() -> None:
    expected = torch.tensor([[0.3, 0.0, 0.5], [0.0, 0.8, 0.0]])
    assert torch.equal(TARGETS.dense(), expected)
    torch.testing.assert_close(TARGETS.renormalised().dense(), expected / 0.8)
    torch.testing.assert_close(TARGETS.mass, torch.tensor([0.8, 0.8]))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_labels_mixed_in_are_the_sum_of_both_losses(share: float) -> None:
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    mixed = TARGETS.with_labels(LABELS, share)
    both = share * cross_entropy(logits, LABELS) + (1 - share) * sparse_cross_entropy(
        logits, TARGETS.indices, TARGETS.probabilities
    )
    torch.testing.assert_close(sparse_cross_entropy(logits, mixed.indices, mixed.probabilities), both)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="share must be from 0 to 1, found"):
        TARGETS.with_labels(LABELS, share)
