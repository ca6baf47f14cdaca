"""Soft targets in which the true class is made to count more: Hao et al., arXiv 2310.19444 (OFA-KD)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import unknown
from understudy.objectives.refined_targets import soft_cross_entropy

Form = Literal["code", "paper"]
FORMS: tuple[Form, ...] = ("code", "paper")


def adaptive_targets(
    teacher_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    eps: float = 1.0,
    temperature: float = 1.0,
    form: Form = "code",
) -> Float[Tensor, "b c"]:
    """How much each class counts, 0 or more, a constant; rows need not add up to 1.

    With p = softmax(teacher / T) and y the label, in at least float32:

        "code":     (1 + p_y)^eps - 1 for y,   p_c^eps for the others     p itself at eps = 1
        "paper":    (1 + p_y)^eps for y,       p_c for the others         p and the label's 1 at eps = 1

    Raises:
        InputError: another form.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    wide = teacher_logits.detach().to(torch.promote_types(teacher_logits.dtype, torch.float32))
    said = (wide / temperature).log_softmax(1)
    p = said.exp()
    if form == "code":
        own, others = torch.expm1(eps * torch.log1p(p)), (eps * said).exp()  # no 1 is taken away from near 1
    else:
        own, others = torch.exp(eps * torch.log1p(p)), p
    return torch.where(F.one_hot(labels.long(), p.shape[1]).bool(), own, others)


def adaptive_target_loss(
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    eps: float = 1.0,
    temperature: float = 1.0,
    form: Form = "code",
) -> Float[Tensor, " b"]:
    """-sum_c w_c ln softmax(student / T)_c with w the targets above, in [0, inf) nats; no factor T^2.

    Lowest where the student says w / sum w. The gradient to the student's logits is (W softmax(student / T) - w) / T
    with W = sum w, and none flows to the teacher.
    """
    weights = adaptive_targets(teacher_logits, labels, eps, temperature, form)
    wide = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32))
    return soft_cross_entropy(weights, wide / temperature)
