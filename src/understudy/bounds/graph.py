"""The computation of one example, as a list of nodes in the order they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.ops import Affine, Broadcast, Shape, forward, size


@dataclass(frozen=True)
class Input:
    """The network's input."""


@dataclass(frozen=True)
class Relu:
    """max(x, 0), element by element."""


@dataclass(frozen=True)
class Add:
    """Sum of the node's parents, each times its coefficient (residual addition)."""

    coefficients: tuple[float, ...]


Op = Input | Relu | Add | Affine


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: its parents' positions, its result's shape for one example, its place in the module."""

    op: Op
    parents: tuple[int, ...]
    shape: Shape
    where: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A network in eval mode, with constants folded. Node 0 is the input, the last node the logits (C,)."""

    nodes: tuple[Node, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def shape(self) -> Shape:
        """Shape of one input."""
        return self.nodes[0].shape

    @property
    def classes(self) -> int:
        return self.nodes[-1].shape[0]

    @cached_property
    def width(self) -> int:
        """The most numbers any node holds for one example: what memory is planned by."""
        return max(size(node.shape) for node in self.nodes)

    @cached_property
    def tight(self) -> tuple[bool, ...]:
        """Per node: interval arithmetic over a box is already exact there, no other bound can be better.

        True while at most one operation has mixed coordinates: a box stays a box under element-wise maps, and
        one row of weights attains its interval over a box.
        """
        box, tight = [True], [True]
        for node in self.nodes[1:]:
            parent = node.parents[0]
            mixes = isinstance(node.op, Add) or (not isinstance(node.op, Relu) and _affine(node.op).mixes)
            box.append(box[parent] and not mixes and not isinstance(node.op, Broadcast))
            tight.append(not isinstance(node.op, Add) and (box[parent] if mixes else tight[parent]))
        return tuple(tight)

    @cached_property
    def relus(self) -> tuple[int, ...]:
        """Positions of the ReLUs, in the order they are computed."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.op, Relu))

    def __call__(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        """The logits, as the module in eval mode gives them."""
        values = [x]
        for node in self.nodes[1:]:
            parents = [values[i] for i in node.parents]
            values.append(evaluate(node.op, parents))
        return values[-1]


def _affine(op: Op) -> Affine:
    return cast(Affine, op)


def evaluate(op: Op, parents: list[Tensor]) -> Tensor:
    """The value of one operation on its parents' values."""
    if isinstance(op, Relu):
        return parents[0].clamp(min=0)
    if isinstance(op, Add):
        total = op.coefficients[0] * parents[0]
        for coefficient, value in zip(op.coefficients[1:], parents[1:], strict=True):
            total = total + coefficient * value
        return total
    return forward(_affine(op), parents[0])
