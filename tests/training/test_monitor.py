from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from understudy.data import DataSet
from understudy.training.monitor import EXAMPLES, Monitor


def test_accuracy_and_agreement_on_the_first_examples() -> None:
    x = torch.rand(EXAMPLES + 100, 4)
    labels = x.argmax(1)
    labels[: EXAMPLES // 2] = (labels[: EXAMPLES // 2] + 1) % 4
    labels[EXAMPLES:] = 0
    data = DataSet("d", "train", x, labels, 4)
    found = Monitor(nn.Identity(), data, torch.device("cpu"))(nn.Identity())
    assert found == {"train_accuracy": 0.5, "agreement": 1.0, "kl": 0.0}


def test_the_divergence_from_the_teacher() -> None:
    x = torch.randn(EXAMPLES + 100, 4)
    data = DataSet("d", "train", x, None, 4, low=-9.0, high=9.0)
    student = nn.Linear(4, 4)
    found = Monitor(nn.Identity(), data, torch.device("cpu"))(student)
    with torch.no_grad():
        p, q = (logits[:EXAMPLES].double().log_softmax(1) for logits in (x, student(x)))
    assert found["kl"] == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-5)
    assert set(Monitor(nn.Identity(), data, torch.device("cpu"))(nn.Linear(4, 3))) == {"agreement"}


def test_a_divergence_that_is_not_finite_is_left_out() -> None:
    """A row of metrics is JSON: no NaN of a student that diverged, nor of a teacher that rules a class out."""
    x = torch.rand(9, 4)
    data, device = DataSet("d", "train", x, x.argmax(1), 4), torch.device("cpu")

    class Adds(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor([0.0, 0.0, 0.0, self.value])

    for teacher, student in ((0.0, math.nan), (0.0, -math.inf), (-math.inf, 0.0), (-math.inf, -math.inf)):
        found = Monitor(Adds(teacher), data, device)(Adds(student))
        assert set(found) == {"train_accuracy", "agreement"}, (teacher, student)
        assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_not_known_is_left_out(labelled: bool) -> None:
    x = torch.rand(10, 3)
    data = DataSet("d", "train", x, x.argmax(1) if labelled else None, 3)
    student = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train()
    found = Monitor(None, data, torch.device("cpu"))(student)
    assert set(found) == ({"train_accuracy"} if labelled else set())
    assert student[1].training


def test_of_vectors_their_distance_and_cosine_are_told_and_no_class() -> None:
    """Labels or not; nothing where the two say vectors of different lengths."""
    x = torch.rand(300, 3) + 0.1
    data, device = DataSet("d", "train", x, x.argmax(1), 3, high=2.0), torch.device("cpu")
    turned = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        turned.weight.copy_(2 * torch.eye(3))
    found = Monitor(nn.Identity(), data, device, vectors=True)(turned)
    assert set(found) == {"distance", "cosine"}
    assert found["cosine"] == pytest.approx(1.0)
    assert found["distance"] == pytest.approx(x.norm(dim=1).mean().item())
    assert Monitor(nn.Identity(), data, device, vectors=True)(nn.Linear(3, 2)) == {}
    assert Monitor(None, data, device, vectors=True)(turned) == {}


def test_accuracy_is_of_the_labelled_and_a_graph_is_looked_at_whole() -> None:
    x = torch.rand(EXAMPLES + 100, 4)
    labels = x.argmax(1)
    labels[1::2] = -1
    labels[0] = (labels[0] + 1) % 4
    seen = []

    class Asked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x

    edges = torch.tensor([[0], [1]])
    for data, portions, labelled in (
        (DataSet("d", "train", x, labels, 4, partly=True), [250, 250], EXAMPLES // 2),
        (DataSet("d", "train", x, labels, 4, partly=True, edges=edges), [EXAMPLES + 100], EXAMPLES // 2 + 50),
    ):
        seen.clear()
        found = Monitor(None, data, torch.device("cpu"))(Asked())
        assert found["train_accuracy"] == pytest.approx(1 - 1 / labelled)
        assert seen == portions
