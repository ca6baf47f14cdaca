"""Moving one batch of confidences onto another: entropic optimal transport by Sinkhorn's iterations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError


def sinkhorn_plan(
    cost: Float[Tensor, "rows columns"], blur: float, iterations: int
) -> Float[Tensor, "rows columns"]:
    """The plan P: exp(-cost / blur), its rows and then its columns made to sum to 1, `iterations` times.

    In log space, so that no blur underflows. Columns sum to 1 exactly, rows nearly (Cuturi, arXiv 1306.0895). Gradient
    flows through all iterations.

    Raises:
        InputError: blur not above 0, no iteration.
    """
    if not blur > 0 or iterations < 1:
        raise InputError(
            f"Sinkhorn needs a blur above 0 and an iteration at least, found {blur} and {iterations}"
        )
    log_plan = -cost / blur
    for _ in range(iterations):
        log_plan = log_plan - log_plan.logsumexp(1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(0, keepdim=True)
    return log_plan.exp()


def sinkhorn_cost(
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    temperature: float = 1.0,
    blur: float = 0.1,
    iterations: int = 20,
) -> Float[Tensor, " b"]:
    """sum_j P_ij |p_j - q_i|_1 for each student's example i: what it pays for moving onto the teacher's batch.

    p and q are the confidences at the temperature, P is `sinkhorn_plan` of all distances in the batch. From 0 to 2 an
    example for a plan whose rows sum to 1. Which of the teacher's rows belongs to which example plays no part. At
    equality small, not 0, unless rows are far apart on the scale of `blur`. The teacher's side is a constant; half
    precision is computed in float32.

    Raises:
        InputError: shapes that differ, T not above 0, and as `sinkhorn_plan` does.
    """
    if teacher_logits.shape != student_logits.shape:
        raise InputError(
            "teacher and student logits must have the same shape (B, C), "
            f"found {tuple(teacher_logits.shape)} and {tuple(student_logits.shape)}"
        )
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, found {temperature}")
    wide = torch.promote_types(torch.promote_types(teacher_logits.dtype, student_logits.dtype), torch.float32)
    p = (teacher_logits.detach().to(wide) / temperature).softmax(1)
    q = (student_logits.to(wide) / temperature).softmax(1)
    cost = torch.cdist(q, p, p=1.0)
    return (sinkhorn_plan(cost, blur, iterations) * cost).sum(1)
