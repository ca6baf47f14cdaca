"""A language model's head and a divergence in one: the loss from hidden states, without the logits.

The logits of N tokens over C classes are (N, C) and so is everything that is usually kept of them for the
backward pass. Here a few hundred tokens at a time are taken from the hidden states of both models to their
divergence and, in closed form, to the gradients of the student's hidden states, head weight and bias; of each
chunk only those sums stay. Extra memory is a few chunks of (chunk, C) and the gradients themselves.

Logits are float32 (float64 for float64) whatever came in, products of half precision accumulate in float32,
and gradients are rounded once, to the type of what they belong to. The teacher is held: no gradient flows to it.
Values, kinds and weights are those of `divergences_family.divergence`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number
from understudy.objectives.divergences_family import check_mask, fit
from understudy.objectives.divergences_terms import Kind, resolve
from understudy.objectives.fused_head_chunks import Plan, Rows, Sum


@dataclass(frozen=True)
class Head:
    """What gives logits: hidden @ weight.T + bias, with weight as in `nn.Linear`."""

    hidden: Float[Tensor, "*n h"]
    weight: Float[Tensor, "c h"]
    bias: Float[Tensor, " c"] | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(x.shape) for x in (self.hidden, self.weight, self.bias) if x is not None]
        fits = self.hidden.ndim and self.weight.ndim == 2 and self.hidden.shape[-1] == self.weight.shape[1]
        if not fits or (self.bias is not None and self.bias.shape != self.weight.shape[:1]):
            raise InputError(f"a head needs hidden (..., H), weight (C, H) and bias (C,), found {shapes}")


def head_divergence(
    teacher: Head | Float[Tensor, "*n c"],
    student: Head,
    kind: Kind = "forward_kl",
    weight: float | None = None,
    *,
    temperature: float = 1.0,
    classes: int | None = None,
    chunk: int = 256,
) -> Float[Tensor, "*n"]:
    """The divergence of each token, of any further use: the backward pass computes the logits again.

    `teacher` is a head or the logits themselves. Raises as `mean_head_divergence` does.
    """
    rows = student.hidden.shape[:-1]
    plan, tensors = _prepare(teacher, student, None, kind, weight, temperature, classes, chunk)
    result: Tensor = Rows.apply(plan, *tensors)
    return result.reshape(rows)


def mean_head_divergence(
    teacher: Head | Float[Tensor, "*n c"],
    student: Head,
    kind: Kind = "forward_kl",
    weight: float | None = None,
    *,
    denominator: int,
    mask: Bool[Tensor, "*n"] | None = None,
    temperature: float = 1.0,
    classes: int | None = None,
    chunk: int = 256,
) -> Float[Tensor, ""]:
    """`mean_divergence` of the heads' logits; gradients come with the value, so the logits are made once.

    Args:
        denominator, mask: as in `mean_divergence`; masked tokens cost nothing.
        chunk: tokens at a time; memory grows with it, and very small chunks are slow.

    Raises:
        InputError: shapes that do not fit together, a chunk below 1, and as `mean_divergence` does.
    """
    check_number("the denominator (tokens in the global batch)", denominator, 1)
    plan, tensors = _prepare(teacher, student, mask, kind, weight, temperature, classes, chunk)
    result: Tensor = Sum.apply(plan, *tensors)
    return result / denominator


def _prepare(
    teacher: Head | Tensor,
    student: Head,
    mask: Tensor | None,
    kind: Kind,
    weight: float | None,
    temperature: float,
    classes: int | None,
    chunk: int,
) -> tuple[Plan, list[Tensor | None]]:
    """The plan, and student's hidden states (N, H), weight, bias, then the same of the teacher, held."""
    kind, weight = resolve(kind, weight)
    check_number("chunk", chunk, 1)
    heads: list[Tensor | None] = []
    empty = []  # stands for each side's logits, which are never made, where shapes and types are checked
    for side in (student, teacher):
        parts = [side.hidden, side.weight, side.bias] if isinstance(side, Head) else [side, None, None]
        hidden = parts[0]
        assert hidden is not None
        width = hidden.shape[-1] if parts[1] is None else len(parts[1])
        empty.append(torch.empty(1, dtype=hidden.dtype, device="meta").expand(*hidden.shape[:-1], width))
        if mask is not None:
            check_mask(mask, hidden.shape[:-1])
            hidden = hidden[mask]
        heads += [hidden.reshape(-1, hidden.shape[-1]), *parts[1:]]
    cut, _ = fit(empty[1], empty[0], temperature, classes)
    device = student.hidden.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    plan = Plan(kind, weight, temperature, cut.shape[-1], chunk, torch.is_grad_enabled(), autocast)
    return plan, heads[:3] + [x if x is None else x.detach() for x in heads[3:]]
