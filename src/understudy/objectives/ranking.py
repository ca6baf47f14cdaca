"""Rankings of classes and how likely a model finds them: one value an example.

Logits (B, C) in, values (B,) out; half precision is computed in float32, float64 stays float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def label_first_order(teacher_logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Int[Tensor, "b c"]:
    """The classes of each example: its label, then the others by falling teacher's logit (equal ones by number).

    Raises:
        InputError: not one label an example.
    """
    if len(labels) != len(teacher_logits):
        raise InputError(f"{len(teacher_logits)} examples need as many labels, found {len(labels)}")
    others = teacher_logits.detach().argsort(dim=1, descending=True, stable=True)
    is_label = others == labels.long()[:, None]
    # A stable sort of "is not the label" moves the label to the front and leaves the others as they lie.
    return others.gather(1, (~is_label).to(torch.uint8).argsort(dim=1, stable=True))


def ranking_loss(
    logits: Float[Tensor, "b c"], order: Int[Tensor, "b c"], weights: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """sum_k w_k (ln sum_{l >= k} exp s_{o_l} - s_{o_k}): the classes drawn one by one in the order o, never again.

    The k-th bracket is minus the log-probability that o_k is drawn from what is left (Luce, 1959; Plackett, 1975);
    w (B, C) weighs the draws, in their order. Not negative for weights that are not.

    Raises:
        InputError: shapes that differ.
    """
    if not logits.shape == order.shape == weights.shape:
        raise InputError(
            "logits, order and weights must have one shape (B, C), "
            f"found {tuple(logits.shape)}, {tuple(order.shape)} and {tuple(weights.shape)}"
        )
    ordered = logits.to(torch.promote_types(logits.dtype, torch.float32)).gather(1, order)
    left = ordered.flip(1).logcumsumexp(1).flip(1)
    return (weights * (left - ordered)).sum(1)
