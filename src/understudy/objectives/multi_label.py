"""Several labels an example: every class is told, yes or no, by a sigmoid of its own logit. Values (B,).

Each is a sum over the classes of what two classes would give, so a class can be left out without touching the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.objectives.divergences import kl


def binary_cross_entropy(logits: Float[Tensor, "b c"], labels: Int[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """-sum_k ln sigmoid(z_k) where y_k = 1, ln sigmoid(-z_k) where y_k = 0, in [0, inf) nats.

    Half precision is computed in float32.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.binary_cross_entropy_with_logits(wide, labels.to(wide), reduction="none").sum(1)


def binary_kl(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """sum_k t_k ln(t_k / s_k) + (1 - t_k) ln((1 - t_k) / (1 - s_k)), t and s sigmoids, in [0, inf) nats.

    Exactly 0 where the logits are equal; the teacher's side is a constant.
    """
    teacher, student = (
        torch.stack((side, torch.zeros_like(side)), -1).flatten(0, 1)  # softmax(z, 0) is sigmoid(z)
        for side in (teacher_logits.detach(), student_logits)
    )
    return kl(teacher, student).unflatten(0, student_logits.shape).sum(1)


def several_labels(logits: Float[Tensor, "b c"], batch: Batch) -> Int[Tensor, "b c"]:
    """The batch's labels, 0 or 1 for each class.

    Raises:
        InputError: there are none, or one an example.
    """
    if batch.labels is None or batch.labels.shape != logits.shape:
        found = "has none" if batch.labels is None else f"has labels of shape {tuple(batch.labels.shape)}"
        raise InputError(
            f"this objective needs several labels an example, {tuple(logits.shape)} of 0 and 1, and the batch {found}"
        )
    return batch.labels
