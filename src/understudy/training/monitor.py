"""What is measured after each epoch: the student on a fixed part of its training data. Never on test data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.models.look import in_mode, logits_of

EXAMPLES = 500


class Monitor:
    """Accuracy and (with a teacher) top-1 agreement on the first 500 training examples, in [0, 1].

    The teacher is asked once: its answers do not change.
    """

    def __init__(self, teacher: nn.Module | None, data: DataSet, device: torch.device) -> None:
        rows = slice(0, min(EXAMPLES, len(data)))
        self.inputs = data.inputs(rows).to(device)
        self.labels = None if data.labels is None else data.labels[rows]
        self.teacher = None if teacher is None else self._answers(teacher)

    def _answers(self, module: nn.Module) -> Tensor:
        with torch.no_grad(), in_mode(module, False):
            return torch.cat([logits_of(module(part)).argmax(1).cpu() for part in self.inputs.split(250)])

    def __call__(self, student: nn.Module) -> dict[str, float]:
        """What holds of the student now: "train_accuracy" with labels, "agreement" with a teacher."""
        said = self._answers(student)
        known = {"train_accuracy": self.labels, "agreement": self.teacher}
        return {
            name: (said == truth).double().mean().item() for name, truth in known.items() if truth is not None
        }
