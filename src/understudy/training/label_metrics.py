"""What is measured after each epoch where an example bears several labels."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from understudy.objectives.average_precision import average_precision


def label_metrics(
    student: Float[Tensor, "n c"], labels: Int[Tensor, "n c"], teacher: Float[Tensor, "n c"] | None
) -> dict[str, float]:
    """Of logits (N, C): "train_map", the mean average precision of the labels that occur, in [0, 1].

    With a teacher also "agreement", the share of all answers, yes above a logit of 0 and no up to it, that are its own.
    """
    found = {}
    if (labels == 1).any():
        found["train_map"] = average_precision(student, labels).nanmean().item()
    if teacher is not None:
        found["agreement"] = ((student > 0) == (teacher > 0)).double().mean().item()
    return found
