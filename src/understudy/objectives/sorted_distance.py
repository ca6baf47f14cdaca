"""How far apart two confidences are when nobody knows which class of one is which of the other.

Both are sorted, the shorter is filled up with zeros, and the differences are added up. It is the cost of moving one
into the other where every move costs the same, made as cheap as a renaming of the classes can make it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number


def sorted_distance(
    teacher_logits: Float[Tensor, "*n v_t"],
    student_logits: Float[Tensor, "*n v_s"],
    *,
    teacher_temperature: float = 1.0,
    student_temperature: float = 1.0,
) -> Float[Tensor, "*n"]:
    """sum over k of |p_(k) - q_(k)|, p_(k) the k-th largest confidence, in [0, 2 (1 - 1 / max(V_T, V_S))].

    It is 0 where the sorted confidences agree, whichever classes they belong to, and at most twice the total
    variation where the vocabularies are one. Half precision is computed in float32; float64 stays float64.

    Raises:
        InputError: rows that do not fit together, logits that are not floats, a temperature not above 0.
    """
    for name, temperature in (("teacher", teacher_temperature), ("student", student_temperature)):
        check_number(f"the {name}'s temperature", temperature, 0.0, above=True)
    shapes = f"teacher {tuple(teacher_logits.shape)} and student {tuple(student_logits.shape)}"
    if teacher_logits.shape[:-1] != student_logits.shape[:-1]:
        raise InputError(
            f"logits must have the shapes (..., V_T) and (..., V_S) with equal rows, found {shapes}"
        )
    p, q = _ranked(teacher_logits, teacher_temperature), _ranked(student_logits, student_temperature)
    width = max(p.shape[-1], q.shape[-1])
    p, q = (F.pad(x, (0, width - x.shape[-1])) for x in (p, q))
    return (p - q).abs().sum(-1)


def _ranked(logits: Tensor, temperature: float) -> Tensor:
    """Confidences, the largest first."""
    if not logits.is_floating_point():
        raise InputError(f"logits must be floats, found {logits.dtype}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide / temperature).softmax(-1).sort(-1, descending=True).values


def gathered(
    values: Float[Tensor, "b l v"], mask: Bool[Tensor, "b l"], length: int
) -> Float[Tensor, "b {length} v"]:
    """The positions that count, moved to the front of their rows in their order; what follows them is any others."""
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)[:, :length]
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[-1]))
