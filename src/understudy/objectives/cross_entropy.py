"""Cross-entropy to the true labels: what a student without a teacher learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, Objective, ZeroWhen
from understudy.objectives.divergences import cross_entropy


def label_loss(logits: Float[Tensor, "b c"], batch: Batch) -> Float[Tensor, " b"]:
    """-ln softmax(logits)_y, in [0, inf) nats, y the batch's labels; half precision is computed in float32.

    In a whole graph (`batch.edges`), of B nodes, b bear a label: theirs count B / b times, the others' (-1) are 0, so
    that the mean over all nodes is that over the labelled.

    Raises:
        InputError: the batch has no labels, or one outside 0..C-1.
    """
    if batch.labels is None:
        raise InputError("this objective needs labels, and the batch has none")
    if batch.edges is None:
        return cross_entropy(logits, batch.labels)
    there = batch.labels >= 0
    values = cross_entropy(logits, batch.labels + (batch.labels == -1).to(batch.labels.dtype))
    return torch.where(there, values * (len(there) / there.sum().clamp(min=1)), torch.zeros_like(values))


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """-ln softmax(s(x))_y an example."""

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    @property
    def needs(self) -> Needs:
        """Labels, and no teacher."""
        return Needs(teacher=(), labels=True, graph_labels=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard": (B,)}."""
        return {"hard": label_loss(student.logits, batch)}
