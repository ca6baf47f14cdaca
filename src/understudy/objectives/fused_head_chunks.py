"""The engine of the fused head: chunks of tokens through both heads, values out, gradients summed.

Half precision enters matrix products as it is only where these can sum and answer in float32 (CUDA); elsewhere
it is widened first. What autocast would round is rounded under the same condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from understudy.objectives.divergences_terms import Kind, compare, probabilities

_CACHED = 2**18  # elements of a block: 1 MiB in float32


@dataclass(frozen=True)
class Plan:
    """All that is not a tensor; `grad` is whether gradients may be asked for."""

    kind: Kind
    weight: float
    temperature: float
    classes: int
    chunk: int
    grad: bool
    autocast: torch.dtype | None


def _operand(plan: Plan, weight: Tensor | None, hidden: Tensor) -> Tensor | None:
    """A head's weight as it enters products: half precision only where these sum and answer in float32."""
    if weight is None:
        return None
    kind = torch.promote_types(weight.dtype, hidden.dtype)
    if not weight.is_cuda:
        kind = torch.promote_types(kind, torch.float32)
    elif plan.autocast is not None:
        kind = plan.autocast
    return weight[: plan.classes].to(kind)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b with sums and result in at least float32."""
    if b.dtype in (torch.float16, torch.bfloat16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b)


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """into += a @ b, without a copy where the types allow."""
    if a.dtype == into.dtype:
        into.addmm_(a, b)
    else:
        into += _product(a, b)


def _logits(hidden: Tensor, weight: Tensor | None, bias: Tensor | None, plan: Plan) -> Tensor:
    """One chunk's (n, classes); without a weight the hidden states are the logits."""
    if weight is None:
        return hidden[:, : plan.classes]
    result = _product(hidden.to(weight.dtype), weight.t())
    return result if bias is None else result.add_(bias[: plan.classes])


def run(
    plan: Plan, tensors: Sequence[Tensor | None], wanted: Sequence[bool], upstream: Tensor | None
) -> tuple[Tensor, list[Tensor | None]]:
    """Values (N,), and the wide gradients that are wanted of hidden, weight and bias, summed over the chunks.

    `upstream` (N,) is how much each token's gradient weighs; None: all weigh 1.
    """
    hidden, weight, bias, teacher, teacher_weight, teacher_bias = tensors
    assert hidden is not None
    assert teacher is not None
    matrix, teacher_matrix = _operand(plan, weight, hidden), _operand(plan, teacher_weight, teacher)
    assert matrix is not None
    wide = torch.promote_types(matrix.dtype, torch.float32)
    result = torch.empty(len(hidden), dtype=wide, device=hidden.device)
    sums = [
        torch.zeros_like(x, dtype=wide) if want and x is not None else None
        for x, want in zip((hidden, weight, bias), wanted, strict=True)
    ]
    with torch.autocast(hidden.device.type, enabled=False):
        for start in range(0, len(hidden), plan.chunk):
            rows = slice(start, start + plan.chunk)
            operand = hidden[rows].to(matrix.dtype)
            s = _logits(operand, matrix, bias, plan)
            t = _logits(teacher[rows], teacher_matrix, teacher_bias, plan)
            result[rows] = _compare(plan, t, s, any(wanted))
            del t
            if upstream is not None:
                s *= upstream[rows, None]
            if sums[2] is not None:
                sums[2][: plan.classes] += s.sum(0)
            s = s.to(matrix.dtype)
            if sums[0] is not None:
                sums[0][rows] = _product(s, matrix)
            if sums[1] is not None:
                _add_product(sums[1][: plan.classes], s.t(), operand)
            del s
    return result, sums


def _compare(plan: Plan, t: Tensor, s: Tensor, slope: bool) -> Tensor:
    """Values (n,) of one chunk's logits; with `slope`, their derivatives take the place of the student's logits.

    On a CPU a few rows at a time, so that all steps in between stay in its cache.
    """
    block = len(s) if s.is_cuda else max(1, _CACHED // s.shape[1])
    found = []
    for start in range(0, len(s), block):
        rows = slice(start, start + block)
        terms = probabilities(t[rows], s[rows], plan.temperature)
        value, derivative = compare(plan.kind, plan.weight, *terms, slope=slope)
        found.append(value)
        if derivative is not None:
            s[rows] = derivative if plan.temperature == 1.0 else derivative / plan.temperature
    return torch.cat(found)


class Sum(torch.autograd.Function):
    """The sum over all tokens. Gradients are made with the value, and scaled when their time comes."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor | None) -> Tensor:
        wanted = [plan.grad and need for need in ctx.needs_input_grad[1:4]]
        result, sums = run(plan, tensors, wanted, None)
        ctx.save_for_backward(*sums)
        ctx.types = [None if x is None else x.dtype for x in tensors[:3]]
        return result.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (
            None if total is None else (total * grads[0]).to(kind)
            for total, kind in zip(ctx.saved_tensors, ctx.types, strict=True)
        )
        return None, *scaled, None, None, None


class Rows(torch.autograd.Function):
    """One value a token. How each weighs is known only in the backward pass, which makes the logits again."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor | None) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        return run(plan, tensors, (False, False, False), None)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        _, sums = run(ctx.plan, tensors, ctx.needs_input_grad[1:4], grads[0])
        fitted = (
            None if x is None or total is None else total.to(x.dtype)
            for x, total in zip(tensors, sums, strict=False)
        )
        return None, *fitted, None, None, None
