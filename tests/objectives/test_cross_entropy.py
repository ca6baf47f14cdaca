"""Cross-entropy to the labels, against numpy; and labels that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

import understudy as us
from understudy.models.outputs import View
from understudy.objectives.cross_entropy import label_loss

LOGITS = 3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 3, 1, 2, 3])


def batch(labels: Tensor | None) -> us.Batch:
    return us.Batch({"clean": torch.zeros(5, 2)}, torch.arange(5), labels)


def test_values_are_scipys() -> None:
    student = us.Outputs({"clean": View(LOGITS)})
    found = us.CrossEntropy().terms(student, us.Outputs({}), batch(LABELS))["hard"]
    expected = -log_softmax(LOGITS.numpy(), axis=1)[np.arange(5), LABELS.numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_half_precision_is_computed_in_single() -> None:
    half = LOGITS.bfloat16()
    found = label_loss(half, batch(LABELS))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), label_loss(half.double(), batch(LABELS)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs labels, and the batch has none"),
        (torch.tensor([0, 1, 2, 3, 4]), "labels must lie in 0..3"),
    ],
)
def test_labels_that_cannot_be_used_are_named(labels: Tensor | None, message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        label_loss(LOGITS, batch(labels))


def test_a_label_of_minus_100_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(us.InputError, match="labels must lie in"):
        label_loss(LOGITS, batch(torch.full((5,), -100)))


def test_in_a_graph_the_mean_is_over_the_labelled_nodes() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    some = torch.tensor([0, -1, 1, -1, -1])
    found = label_loss(LOGITS, us.Batch({"clean": torch.zeros(5, 2)}, torch.arange(5), some, edges=edges))
    alone = -log_softmax(LOGITS.numpy(), axis=1)[[0, 2], [0, 1]]
    np.testing.assert_allclose(found.mean().item(), alone.mean())
    np.testing.assert_allclose(found[[0, 2]].numpy(), 5 / 2 * alone)
    assert not found[[1, 3, 4]].any()
    none = us.Batch({"clean": torch.zeros(5, 2)}, torch.arange(5), torch.full((5,), -1), edges=edges)
    assert not label_loss(LOGITS, none).any()
    with pytest.raises(us.InputError, match="labels must lie in"):
        label_loss(LOGITS, us.Batch(none.views, none.index, torch.full((5,), -100), edges=edges))
    with pytest.raises(us.InputError, match="labels must lie in"):
        label_loss(LOGITS, batch(some))
