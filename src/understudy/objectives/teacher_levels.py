"""Soft targets that keep a part of what a teacher says: Tang et al., arXiv 2002.03532.

p = softmax of the teacher's logits (B, C), y the label. Every target is a row of numbers of 0 or more that sum to 1, a
constant, in at least float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number


def partial_targets(
    teacher_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    relations: Float[Tensor, "b c"] | None = None,
) -> Float[Tensor, "b c"]:
    """p_y for the label, and 1 - p_y over the other classes: alike, or in proportion to `relations`.

    Two classes leave nothing to spread: the targets are p then.

    Args:
        teacher_logits: divided by the temperature, if there is one.
        relations: a row of weights an example, above 0 for one other class at least; what it gives the label does
            not count.

    Raises:
        InputError: a single class.
    """
    if teacher_logits.shape[1] < 2:
        raise InputError("with one class there is no other one to spread a confidence over")
    log_p = _wide(teacher_logits).log_softmax(1)
    own = F.one_hot(labels.long(), log_p.shape[1]).bool()
    doubt = (
        log_p.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True).exp()
    )  # 1 - p_y loses its digits near 1
    spread = torch.ones_like(log_p) if relations is None else _wide(relations).to(log_p.dtype)
    spread = spread.masked_fill(own, 0.0)
    return torch.where(own, log_p.exp(), doubt * spread / spread.sum(1, keepdim=True))


def class_relations(weights: Float[Tensor, "c d"], temperature: float) -> Float[Tensor, "c c"]:
    """softmax(W^ W^T / a), a row a class: how near the teacher's last layer holds the others to it.

    W^ are the classes' weight vectors (C, D) at length 1: their lengths do not count. a to 0 gives the label alone,
    a to infinity every class alike. A class without weights is at a right angle to all others, and to itself.

    Raises:
        InputError: a is not above 0.
    """
    check_number("the temperature of the relations", temperature, 0.0, above=True)
    directions = F.normalize(_wide(weights), dim=1)
    return (directions @ directions.t() / temperature).softmax(1)


def top_targets(teacher_logits: Float[Tensor, "b c"], k: int) -> Float[Tensor, "b c"]:
    """p for its k largest classes, what is left of 1 over the others alike; p itself where k is C or more.

    Of equal confidences those of the lowest classes are kept.

    Raises:
        InputError: k below 1.
    """
    check_number("how many classes are kept", k, 1.0)
    log_p = _wide(teacher_logits).log_softmax(1)
    if k >= log_p.shape[1]:
        return log_p.exp()
    kept = torch.zeros_like(log_p, dtype=torch.bool)
    kept.scatter_(1, log_p.sort(dim=1, descending=True, stable=True).indices[:, :k], True)
    left = log_p.masked_fill(kept, -torch.inf).logsumexp(1, keepdim=True).exp()
    return torch.where(kept, log_p.exp(), left / (log_p.shape[1] - k))


def _wide(values: Tensor) -> Tensor:
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))
