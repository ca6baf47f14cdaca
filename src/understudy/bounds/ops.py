"""Affine operators of the graph: each knows itself, its absolute value and its adjoint.

All work on stacks of per-example tensors: `m` examples (or `m` rows of coefficients) along the first axis.
Convolutions are never turned into matrices; pooling is one small matrix per axis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Shape = tuple[int, ...]


@runtime_checkable
class Affine(Protocol):
    """y = M x + bias, on per-example tensors of fixed shapes.

    `mixes`: an output is a combination of several inputs, so that a box does not map to a box.
    """

    mixes: bool

    @property
    def bias(self) -> Tensor | None:
        """Broadcastable to the per-example output; None where M is all there is."""

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        """M x."""

    def spread(self, radius: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        """|M| radius, entry by entry absolute."""

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        """M^T rows: coefficients on the output to coefficients on the input."""


def _absolute(op: object, weight: Tensor) -> Tensor:
    """|weight|, kept with the operator for as long as the weight is the same tensor, unchanged."""
    if weight.is_inference():  # counts no changes
        return weight.abs()
    kept = vars(op).get("_kept")
    if kept is None or kept[0] is not weight or kept[1] != weight._version:
        kept = (weight, weight._version, weight.abs())
        vars(op)["_kept"] = kept
    return kept[2]


class _Monotone(ABC):
    """Operators without bias whose coefficients are all 0 or more, so that |M| is M."""

    mixes = False
    bias: Tensor | None = None

    @abstractmethod
    def linear(self, x: Tensor) -> Tensor:
        """M x."""

    def spread(self, radius: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self.linear(radius)


@dataclass(frozen=True, eq=False)
class Linear:
    """x W^T + bias over the last axis. weight: (out, in)."""

    weight: Tensor
    bias: Tensor | None = None
    mixes = True

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x @ self.weight.T

    def spread(self, radius: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return radius @ _absolute(self, self.weight).T

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return rows @ self.weight


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Convolution; `size` is the per-example input's (channels, height, width), `bias` (out, 1, 1)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    size: Shape
    mixes = True

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self._convolve(x, self.weight)

    def spread(self, radius: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self._convolve(radius, _absolute(self, self.weight))

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        # rows and columns at the far edge that no stride reached have coefficient 0
        extra = []
        for axis in range(2):
            reach = (rows.shape[axis + 2] - 1) * self.stride[axis] - 2 * self.padding[axis]
            reach += self.dilation[axis] * (self.weight.shape[axis + 2] - 1) + 1
            extra.append(self.size[axis + 1] - reach)
        return F.conv_transpose2d(
            rows, self.weight, None, self.stride, self.padding, extra, self.groups, self.dilation
        )


@dataclass(frozen=True, eq=False)
class Scale:
    """scale * x + bias, element by element; both broadcast to the per-example shape (folded batch norm)."""

    scale: Tensor
    bias: Tensor | None = None
    mixes = False

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x * self.scale

    def spread(self, radius: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return radius * self.scale.abs()

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return rows * self.scale


@dataclass(frozen=True, eq=False)
class Reshape(_Monotone):
    """The same numbers in another per-example shape."""

    before: Shape
    after: Shape

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x.reshape(len(x), *self.after)

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return rows.reshape(len(rows), *self.before)


@dataclass(frozen=True, eq=False)
class Permute(_Monotone):
    """Axes in another order; `order` counts the first axis (of examples), which stays first."""

    order: Shape

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x.permute(self.order)

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        back = sorted(range(len(self.order)), key=lambda axis: self.order[axis])
        return rows.permute(back)


@dataclass(frozen=True, eq=False)
class Broadcast(_Monotone):
    """Repetition along axes of size 1, or new leading ones, as in broadcasting."""

    before: Shape
    after: Shape

    def _padded(self) -> Shape:
        return (1,) * (len(self.after) - len(self.before)) + self.before

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x.reshape(len(x), *self._padded()).expand(len(x), *self.after)

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        shape = self._padded()
        repeated = [i + 1 for i, (old, new) in enumerate(zip(shape, self.after, strict=True)) if old != new]
        summed = rows.sum(repeated, keepdim=True) if repeated else rows
        return summed.reshape(len(rows), *self.before)


@dataclass(frozen=True, eq=False)
class Reduce(_Monotone):
    """Sum over `axes` (counting the first, which is not among them) times `factor`, axes kept with size 1."""

    axes: Shape
    factor: float
    before: Shape
    mixes = True

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return x.sum(self.axes, keepdim=True) * self.factor

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return (rows * self.factor).expand(len(rows), *self.before)


@dataclass(frozen=True, eq=False)
class Pool(_Monotone):
    """Average pooling as one matrix per axis: rows (h_out, h_in), columns (w_out, w_in)."""

    rows: Tensor
    columns: Tensor
    mixes = True

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self.rows @ x @ self.columns.T

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self.rows.T @ rows @ self.columns


@dataclass(frozen=True, eq=False)
class Pad(_Monotone):
    """Zeros around (as `torch.nn.functional.pad` counts: last axis first); negative amounts crop."""

    amounts: Shape

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return F.pad(x, list(self.amounts))

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return F.pad(rows, [-amount for amount in self.amounts])


@dataclass(frozen=True, eq=False)
class Slice(_Monotone):
    """x[start:stop:step] along one axis (counting the first, which it is not)."""

    axis: int
    start: int
    stop: int
    step: int
    before: Shape

    def _window(self, x: Tensor) -> Tensor:
        index = [slice(None)] * x.dim()
        index[self.axis] = slice(self.start, self.stop, self.step)
        return x[tuple(index)]

    def linear(self, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        return self._window(x)

    def adjoint(self, rows: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        full = rows.new_zeros(len(rows), *self.before)
        self._window(full).copy_(rows)
        return full


def offset(op: Affine, rows: Float[Tensor, "m ..."]) -> Float[Tensor, " m"] | None:
    """Coefficients on the output times the bias: what the bias adds to each row; None without a bias."""
    if op.bias is None:
        return None
    return rows.flatten(1) @ op.bias.expand(rows.shape[1:]).reshape(-1)


def forward(op: Affine, x: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
    """M x + bias."""
    y = op.linear(x)
    return y if op.bias is None else y + op.bias


def size(shape: Shape) -> int:
    """Numbers in one example of this shape."""
    return math.prod(shape)


def identity_rows(index: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """One-hot rows for the flat positions `index` (r,): (r, *shape)."""
    rows = torch.zeros(len(index), size(shape), dtype=dtype, device=index.device)
    rows[torch.arange(len(index), device=index.device), index] = 1.0
    return rows.reshape(len(index), *shape)
