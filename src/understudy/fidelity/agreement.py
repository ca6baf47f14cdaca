"""Whether two models name the same class, and whether a model names the right one: per example."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.fidelity._inputs import check_labelled, check_pair


def top1_agreement(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Bool[Tensor, " b"]:
    """argmax_k t_k = argmax_k s_k, of logits (B, C): (B,). A tie goes to the lowest class, in both models.

    The mean is the top-1 agreement of Stanton et al. (arXiv 2106.05945), in [0, 1]; with independent examples
    it is an unbiased estimate of the probability of agreeing. It is unchanged by any temperature.

    Raises:
        InputError: no example, shapes that differ, a logit that is not finite.
    """
    check_pair(teacher_logits, student_logits)
    return teacher_logits.argmax(1) == student_logits.argmax(1)


def top1_correct(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """argmax_k z_k = y, of logits (B, C) and labels (B,) in 0..C-1: (B,); the mean is the accuracy.

    Raises:
        InputError: no example, a label out of range or missing, a logit that is not finite.
    """
    check_labelled(logits, labels)
    return logits.argmax(1) == labels
