"""What is measured after each epoch: the student on a fixed part of its training data. Never on test data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.models.look import in_mode, logits_of

EXAMPLES = 1000


def monitor(
    student: nn.Module, teacher: nn.Module | None, data: DataSet, device: torch.device
) -> dict[str, float]:
    """Accuracy and (with a teacher) top-1 agreement on the first 1,000 training examples, in [0, 1]."""
    rows = slice(0, min(EXAMPLES, len(data)))
    inputs = data.inputs(rows).to(device)

    def answers(module: nn.Module) -> Tensor:
        with torch.no_grad(), in_mode(module, False):
            return torch.cat([logits_of(module(part)).argmax(1).cpu() for part in inputs.split(250)])

    said = answers(student)
    found = {}
    if data.labels is not None:
        found["train_accuracy"] = (said == data.labels[rows]).float().mean().item()
    if teacher is not None:
        found["agreement"] = (said == answers(teacher)).float().mean().item()
    return found
