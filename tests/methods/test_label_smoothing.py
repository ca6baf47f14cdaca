"""Label smoothing against PyTorch's own, a number by hand, and cross-entropy at both ends of its share."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.methods import make_method
from understudy.methods.logits.label_smoothing import LabelSmoothing, smoothed
from understudy.models.outputs import Outputs, View

LABELS = torch.arange(8) % 6
LOGITS = 2 * torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loss(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    batch = us.Batch({"clean": torch.zeros(len(labels), 1)}, torch.arange(len(labels)), labels)
    said = Outputs({"clean": View(logits)})
    return LabelSmoothing(share=share).terms(said, said, batch)["smooth"]


def test_the_number_by_hand() -> None:
    """s = (2, 1, 0), y = 0, e = 0.1: ln(e^2 + e + 1) - (0.9333 * 2 + 0.0333 * 1)."""
    found = loss(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64), torch.tensor([0]), 0.1).item()
    assert found == pytest.approx(math.log(math.exp(2) + math.e + 1) - 1.9, abs=1e-7)
    assert found == pytest.approx(0.507606, abs=5e-7)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_it_is_what_pytorch_computes(share: float) -> None:
    wanted = F.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=share)
    torch.testing.assert_close(loss(LOGITS, LABELS, share), wanted, rtol=1e-6, atol=1e-6)


def test_it_is_cross_entropy_and_the_mean_over_all_classes() -> None:
    parts = [F.cross_entropy(LOGITS, torch.full((8,), c), reduction="none") for c in range(6)]
    wanted = 0.8 * F.cross_entropy(LOGITS, LABELS, reduction="none") + 0.2 * torch.stack(parts).mean(0)
    torch.testing.assert_close(loss(LOGITS, LABELS, 0.2), wanted, rtol=1e-6, atol=1e-6)


def test_targets_sum_to_one_and_the_loss_is_lowest_there() -> None:
    targets = smoothed(LABELS, 6, 0.1)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    entropy = -(targets * targets.log()).sum(1).double()
    at = loss(targets.double().log(), LABELS, 0.1)
    torch.testing.assert_close(at, entropy, rtol=1e-6, atol=1e-6)
    assert (loss(LOGITS, LABELS, 0.1) > at).all()


def test_bad_input() -> None:
    for share in ("-0.1", "1.1", "nan"):
        with pytest.raises(us.InputError, match="share"):
            make_method("label_smoothing", {"share": share})
    batch = us.Batch({"clean": torch.zeros(8, 1)}, torch.arange(8), None)
    said = Outputs({"clean": View(LOGITS)})
    with pytest.raises(us.InputError, match="needs labels"):
        LabelSmoothing().terms(said, said, batch)
