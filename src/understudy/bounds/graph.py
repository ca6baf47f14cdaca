"""The computation of one example, as a list of nodes in the order they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.ops import Affine, Broadcast, Shape, forward, size
from understudy.bounds.smooth import Kind, value


@dataclass(frozen=True)
class Input:
    """The network's input."""


@dataclass(frozen=True)
class Relu:
    """max(x, 0), element by element."""


@dataclass(frozen=True)
class Smooth:
    """A smooth function, element by element: `kind` is one of `understudy.bounds.smooth.KINDS`."""

    kind: Kind


@dataclass(frozen=True)
class Add:
    """Sum of the node's parents, each times its coefficient (residual addition)."""

    coefficients: tuple[float, ...]


Activation = Relu | Smooth
Op = Input | Relu | Smooth | Add | Affine


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
            mixes = isinstance(node.op, Add) or (
                not isinstance(node.op, Activation) and _affine(node.op).mixes
            )
            box.append(box[parent] and not mixes and not isinstance(node.op, Broadcast))
            tight.append(not isinstance(node.op, Add) and (box[parent] if mixes else tight[parent]))
        return tuple(tight)

    @cached_property
    def relus(self) -> tuple[int, ...]:
        """Positions of the ReLUs, in the order they are computed."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.op, Relu))

    @cached_property
    def activations(self) -> tuple[int, ...]:
        """Positions of the nonlinear operations, ReLUs and smooth functions, in the order they are computed."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.op, Activation))

    @cached_property
    def extremes(self) -> dict[int, tuple[int, int, bool]]:
        """Sums y + relu(x - y), that is max(x, y), and y - relu(y - x), that is min(x, y).

        By position: x, y, and whether it is the maximum. Interval arithmetic needs to know.
        """
        found = {}
        for position, node in enumerate(self.nodes):
            if not (isinstance(node.op, Add) and node.op.coefficients in ((1, 1), (1, -1))):
                continue
            y, bent = node.parents
            if not isinstance(self.nodes[bent].op, Relu):
                continue
            difference = self.nodes[self.nodes[bent].parents[0]]
            if isinstance(difference.op, Add) and difference.op.coefficients == (1, -1):
                first, second = difference.parents
                if node.op.coefficients == (1, 1) and second == y:
                    found[position] = (first, y, True)
                elif node.op.coefficients == (1, -1) and first == y:
                    found[position] = (second, y, False)
        return found

    @cached_property
    def bent(self) -> frozenset[int]:
        """Positions whose values smooth functions take: every entry's interval matters there."""
        return frozenset(node.parents[0] for node in self.nodes if isinstance(node.op, Smooth))

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
    if isinstance(op, Smooth):
        return value(op.kind, parents[0])
    if isinstance(op, Add):
        total = op.coefficients[0] * parents[0]
        for coefficient, part in zip(op.coefficients[1:], parents[1:], strict=True):
            total = total + coefficient * part
        return total
    return forward(_affine(op), parents[0])
