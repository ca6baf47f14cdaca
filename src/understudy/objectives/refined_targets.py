"""Targets that are partly a label and partly confidences, and the cross-entropy to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def refined_targets(
    labels: Int[Tensor, " b"], confidences: Float[Tensor, "b c"], share: float
) -> Float[Tensor, "b c"]:
    """(1 - share) onehot(y) + share P; a row of P that is NaN counts as onehot(y)."""
    confidences = confidences.to(torch.promote_types(confidences.dtype, torch.float32))
    hard = F.one_hot(labels.long(), confidences.shape[1]).to(confidences.dtype)
    known = torch.where(confidences.isnan(), hard, confidences)
    return (1 - share) * hard + share * known


def soft_cross_entropy(targets: Float[Tensor, "b c"], logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """-sum_k target_k ln softmax(logits)_k, in [0, inf) nats; half precision is computed in float32.

    At least the targets' entropy, which it has where softmax(logits) are the targets.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -(targets * wide.log_softmax(1)).sum(1)
