"""A network's logits at points, each with a rigorous bound of its rounding error against real arithmetic.

Two ways: plain float64, whose error bound grows with every layer by the weights' absolute values, and pairs of
float64 (about 100 bits) for networks so deep that the first bound says nothing. In the second, weights and values
are cut into slices of so few bits that products and sums of the leading slices are exact in any order, so that the
matrix products and convolutions stay those of the library (Ozaki et al., Numerical Algorithms 59, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds import ops
from understudy.bounds.graph import Add, Graph, Node, Relu, Smooth, evaluate

UNIT = 2.0**-53  # rounding unit of float64
TINY = 2.0**-1022  # what an underflow loses at most, also where the machine flushes to zero
MORE = 1 + 2.0**-30  # covers the rounding of the error bounds themselves
STEEPEST = 1.14  # above the slope of every smooth activation there is
MOVES = (
    ops.Reshape,
    ops.Permute,
    ops.Broadcast,
    ops.Pad,
    ops.Slice,
)  # numbers are copied, nothing is computed


@dataclass(frozen=True, eq=False)
class Value:
    """The truth lies within `error` of high + low, number by number; |low| is at most a rounding of `high`."""

    high: Tensor
    low: Tensor
    error: Tensor


def logits_and_error(
    graph: Graph, points: Float[Tensor, "b ..."], *, precise: bool = False
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """(logits, error), float64: the graph's logits in real arithmetic lie within `error` of `logits`.

    Args:
        points: float64, taken as exact.
        precise: compute with pairs of float64.
    """
    zero = torch.zeros_like(points)
    values = [Value(points, zero, zero)]
    for node in graph.nodes[1:]:
        parents = [values[i] for i in node.parents]
        shapes = [graph.nodes[i] for i in node.parents]
        values.append(_step(node, parents, shapes, precise))
    last = values[-1]
    return last.high, (last.error + last.low.abs()) * MORE


def _step(node: Node, parents: list[Value], before: list[Node], precise: bool) -> Value:
    first = parents[0]
    if isinstance(node.op, Relu):
        return _relu(first)
    if isinstance(node.op, Add):
        return _add(node.op, parents, precise)
    if isinstance(node.op, Smooth):
        whole = first.high + first.low
        error = STEEPEST * (first.error + UNIT * first.low.abs()) + 32 * UNIT * (whole.abs() + 1)
        return _plain(evaluate(node.op, [whole]), error * MORE)
    op = cast(ops.Affine, node.op)
    if isinstance(op, MOVES):
        return Value(op.linear(first.high), op.linear(first.low), op.linear(first.error))
    if precise and isinstance(op, ops.Linear | ops.Conv2d | ops.Scale):
        return _sliced(op, first)
    whole = first.high + first.low
    error = first.error + UNIT * first.low.abs()
    count = _terms(op, ops.size(before[0].shape)) + 3
    bias = 0.0 if op.bias is None else op.bias.abs()
    local = gamma(count) * (op.spread(whole.abs()) + bias) + count * TINY
    return _plain(ops.forward(op, whole), (op.spread(error) + local) * MORE)


def _plain(high: Tensor, error: Tensor) -> Value:
    return Value(high, torch.zeros_like(high), error)


def gamma(count: int) -> float:
    """Relative error of a sum of `count` rounded terms."""
    return count * UNIT / (1 - count * UNIT) * MORE


def _terms(op: ops.Affine, inputs: int) -> int:
    """How many products one output sums up, at most."""
    if isinstance(op, ops.Scale):
        return 1
    if isinstance(op, ops.Linear | ops.Conv2d):
        return op.weight[0].numel()
    return inputs + 2


def _relu(x: Value) -> Value:
    whole = x.high + x.low
    on = whole > 0
    dead = whole + x.error * MORE < 0
    return Value(x.high.where(on, 0.0), x.low.where(on, 0.0), x.error.masked_fill(dead, 0.0))


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum, and what rounding took away, exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _add(op: Add, parents: list[Value], precise: bool) -> Value:
    weights = op.coefficients
    error = sum(abs(c) * p.error for c, p in zip(weights, parents, strict=True)) + torch.zeros(())
    error = error.to(parents[0].error)
    if not precise or any(abs(c) != 1 for c in weights):
        wholes = [c * (p.high + p.low) for c, p in zip(weights, parents, strict=True)]
        size_of = sum(w.abs() for w in wholes) + torch.zeros_like(wholes[0])
        total = sum(wholes[1:], start=wholes[0])
        return _plain(total, (error + gamma(len(weights) + 3) * size_of + TINY) * MORE)
    high, low = weights[0] * parents[0].high, weights[0] * parents[0].low
    size_of = high.abs()
    for c, p in zip(weights[1:], parents[1:], strict=True):
        high, lost = _two_sum(high, c * p.high)
        low = low + (lost + c * p.low)
        size_of = size_of + p.high.abs()
    high, low = _two_sum(high, low)
    return Value(high, low, (error + 8 * len(weights) * UNIT**2 * size_of + TINY) * MORE)


def _sliced(op: ops.Linear | ops.Conv2d | ops.Scale, x: Value) -> Value:
    """M x + bias with M and x in three slices each: products of slices i + j <= 4 are exact."""
    weight = torch.atleast_1d(op.scale) if isinstance(op, ops.Scale) else op.weight
    count = _terms(op, 0)
    bits = (53 - count.bit_length()) // 2

    def times(part: Tensor, by: Tensor) -> Tensor:
        if isinstance(op, ops.Scale):
            return by * part
        return replace(op, weight=part, bias=None).linear(by)

    w, w_rest, w_top = _slices(weight[None], bits)
    h, h_rest, h_top = _slices(x.high, bits)
    w, w_rest = [part[0] for part in w], w_rest[0]
    high = times(w[0], h[0])
    low = torch.zeros_like(high)
    for i, j in ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0)):
        high, lost = _two_sum(high, times(w[i], h[j]))
        low = low + lost
    if op.bias is not None:
        high, lost = _two_sum(high, op.bias.expand_as(high))
        low = low + lost
    rest = times(w[1], h[2]) + times(w[2], h[1] + h[2])
    rest = rest + times(w_rest, x.high - h_rest) + times(weight, h_rest + x.low)
    high, low = _two_sum(high, low + rest)
    # sizes: of all products together, and of those that were not exact
    per_example = [len(x.high)] + [1] * (high.dim() - 1)
    top = (count * w_top * h_top).reshape(per_example)
    largest_low = x.low.abs().flatten(1).amax(1)
    inexact = 4 * 2.0 ** (-3 * (bits + 1)) * top + (count * w_top * largest_low).reshape(per_example)
    bias = 0.0 if op.bias is None else op.bias.abs().max()
    local = 64 * UNIT**2 * (2 * top + bias) + gamma(count + 16) * inexact + count * TINY
    return Value(high, low, (op.spread(x.error) + local) * MORE)


def _slices(x: Tensor, bits: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Three slices of `bits` bits each, the rest, and a power of two above |x|; (b, ...), (b,) by example.

    Every number of a slice is a whole multiple, at most 2**bits, of one power of two an example.
    """
    top = x.abs().flatten(1).amax(1)
    exponent = torch.frexp(top)[1].to(x.dtype)
    shape = [len(x)] + [1] * (x.dim() - 1)
    slices, rest = [], x
    for k in range(3):
        grid = torch.exp2(exponent - k * (bits + 1) - bits).reshape(shape)
        anchor = 1.5 * 2.0**52 * grid
        part = (rest + anchor) - anchor
        slices.append(part)
        rest = rest - part
    return slices, rest, torch.exp2(exponent)
