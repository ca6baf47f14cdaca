"""One family of exact divergences between a teacher's and a student's logits, a value a row or their mean.

Logits (..., C) in, nats (or a difference of probabilities) out, in float32 whatever half precision came in;
float64 stays float64. Every value is exactly 0 where the logits are equal and never negative. Vocabularies
padded to different widths are cut to their common `classes`; entries that are no class are named by `valid`.

A logit of minus infinity is a class of probability 0. Two such sides agree there. Where only one has it the
bounded divergences stay finite; forward KL is infinite, with its finite gradient, where the student rules out
what the teacher may say, and reverse KL is infinite, without a gradient, the other way round.

Gradients are in closed form, computed again from the logits in the backward pass: nothing else is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number
from understudy.objectives.divergences_terms import Kind, compare, mirror, probabilities, resolve


def divergence(
    teacher_logits: Float[Tensor, "*n c_t"],
    student_logits: Float[Tensor, "*n c_s"],
    kind: Kind = "forward_kl",
    weight: float | None = None,
    *,
    temperature: float = 1.0,
    classes: int | None = None,
    valid: Bool[Tensor, " c"] | None = None,
) -> Float[Tensor, "*n"]:
    """The divergence of `kind` between softmax(t / T) and softmax(s / T), one value a row; no factor T^2.

    Bounds: total variation 1; jsd of weight w, -w ln w - (1 - w) ln(1 - w); skew of weight w, -ln w; KL none.
    A jsd of weight 0 is forward KL and one of weight 1 reverse KL, the limits of jsd / w and jsd / (1 - w),
    as in GKD's implementations; the formula itself goes to 0 there, so jsd is not continuous at the ends.
    Gradient flows to whichever side asks for it.

    Args:
        kind: which divergence; `divergences_terms.Kind` has the formulas.
        weight: in [0, 1], wanted by jsd (GKD's beta, the teacher's share of the mixture) and by the skew kinds
            (DistiLLM's alpha, the share of the side on the left), refused by the others.
        classes: how many leading columns are classes; what follows is padding. None: all, of equal widths.
        valid: which of the classes count (C,); None: all.

    Raises:
        InputError: a kind, weight or temperature that is none, logits that are not floats or do not fit
            together, `classes` beyond either width, a `valid` of another length or without a True.
    """
    kind, weight = resolve(kind, weight)
    t, s = fit(teacher_logits, student_logits, temperature, classes)
    if valid is not None:
        if valid.shape != t.shape[-1:] or not valid.any():
            raise InputError(
                f"valid must name at least one of {t.shape[-1]} classes in shape ({t.shape[-1]},), "
                f"found {int(valid.sum())} of shape {tuple(valid.shape)}"
            )
        t, s = (z.masked_fill(~valid.to(z.device), -torch.inf) for z in (t, s))
    result: Tensor = _Divergence.apply(t, s, kind, weight, temperature)
    return result


def mean_divergence(
    teacher_logits: Float[Tensor, "*n c_t"],
    student_logits: Float[Tensor, "*n c_s"],
    kind: Kind = "forward_kl",
    weight: float | None = None,
    *,
    denominator: int,
    mask: Bool[Tensor, "*n"] | None = None,
    temperature: float = 1.0,
    classes: int | None = None,
    valid: Bool[Tensor, " c"] | None = None,
) -> Float[Tensor, ""]:
    """The sum of `divergence` over the rows where `mask` is True (None: all), divided by `denominator`.

    The denominator is the number of tokens that count in the *global* batch: over micro-batches and processes
    the results then add up to the mean over that batch, however it was split. Rows that are masked are never
    looked at, whatever they hold; a batch without any row gives 0.

    Raises:
        InputError: a denominator below 1, a mask of another shape, and as `divergence` does.
    """
    check_number("the denominator (tokens in the global batch)", denominator, 1)
    if mask is not None:
        check_mask(mask, student_logits.shape[:-1])
        if teacher_logits.shape[:-1] == mask.shape:
            teacher_logits, student_logits = teacher_logits[mask], student_logits[mask]
    rows = divergence(
        teacher_logits, student_logits, kind, weight, temperature=temperature, classes=classes, valid=valid
    )
    return rows.sum() / denominator


def fit(t: Tensor, s: Tensor, temperature: float, classes: int | None) -> tuple[Tensor, Tensor]:
    """Both logits cut to the classes they share, as they came otherwise; raises as `divergence` does."""
    check_number("temperature", temperature, 0.0, above=True)
    for side, z in (("teacher", t), ("student", s)):
        if not z.is_floating_point():
            raise InputError(f"{side} logits must be floats, found {z.dtype}")
    shapes = f"teacher {tuple(t.shape)} and student {tuple(s.shape)}"
    if t.shape[:-1] != s.shape[:-1] or not t.ndim or not s.ndim:
        raise InputError(f"logits must have the shapes (..., C) with equal rows, found {shapes}")
    width = min(t.shape[-1], s.shape[-1])
    if classes is None and t.shape != s.shape:
        raise InputError(f"vocabularies of different width need classes=, at most {width}, found {shapes}")
    count = width if classes is None else classes
    if not 1 <= count <= width:
        raise InputError(f"classes must be from 1 to {width}, found {count} for {shapes}")
    return t[..., :count], s[..., :count]


def check_mask(mask: Tensor, rows: torch.Size) -> None:
    """InputError unless the mask has one truth value a row."""
    if mask.shape != rows or mask.dtype != torch.bool:
        raise InputError(
            f"the mask must be boolean of shape {tuple(rows)}, found {mask.dtype} of shape {tuple(mask.shape)}"
        )


class _Divergence(torch.autograd.Function):
    """Values forward; slopes backward, from the logits alone and differentiable once more."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, s: Tensor, kind: Kind, weight: float, temperature: float) -> Tensor:
        ctx.save_for_backward(t, s)
        ctx.options = kind, weight, temperature
        return compare(kind, weight, *probabilities(t, s, temperature), slope=False)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        t, s = ctx.saved_tensors
        kind, weight, temperature = ctx.options
        p, q, ratio = probabilities(t, s, temperature)
        upstream = grads[0].unsqueeze(-1) / temperature
        to_teacher = to_student = None
        if ctx.needs_input_grad[0]:
            _, slope = compare(*mirror(kind, weight), q, p, -ratio, slope=True)
            to_teacher = (slope * upstream).to(t.dtype)
        if ctx.needs_input_grad[1]:
            _, slope = compare(kind, weight, p, q, ratio, slope=True)
            to_student = (slope * upstream).to(s.dtype)
        return to_teacher, to_student, None, None, None
