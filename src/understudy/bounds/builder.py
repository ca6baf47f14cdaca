"""`Builder`: grows a graph node by node; activations and constants stay apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from understudy.bounds.graph import Add, Input, Node, Op, Relu, Smooth
from understudy.bounds.ops import Broadcast, Pad, Reshape, Scale, Shape, Slice
from understudy.bounds.smooth import Kind
from understudy.errors import InputError

BATCH = 3  # examples in the traced batch: unlike 1 and 2, seldom the size of anything else


@dataclass(frozen=True)
class Act:
    """A value that depends on the input: its node and its shape for one example."""

    node: int
    shape: Shape


@dataclass(frozen=True)
class Walled:
    """An activation with minus infinity around it (amounts as in `torch.nn.functional.pad`).

    Only max pooling, which never chooses the wall, can take it.
    """

    inner: Act
    amounts: Shape


@dataclass
class Builder:
    """Nodes so far, and the place in the module that is being translated (for messages)."""

    shape: Shape
    nodes: list[Node] = field(default_factory=list)
    operator: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        self.nodes.append(Node(Input(), (), self.shape, "input"))

    def refuse(self, reason: str) -> InputError:
        """The error for an operation that cannot be bounded here."""
        return InputError(f"operator {self.operator} at {self.where}: {reason}")

    def emit(self, op: Op, parents: tuple[Act, ...], shape: Shape) -> Act:
        """One more node."""
        self.nodes.append(Node(op, tuple(parent.node for parent in parents), shape, self.where))
        return Act(len(self.nodes) - 1, shape)

    def reshape(self, x: Act, shape: Shape) -> Act:
        return x if shape == x.shape else self.emit(Reshape(x.shape, shape), (x,), shape)

    def broadcast(self, x: Act, shape: Shape) -> Act:
        return x if shape == x.shape else self.emit(Broadcast(x.shape, shape), (x,), shape)

    def constant(self, value: Any, x: Act) -> Tensor:
        """A constant operand of `x` for one example: without the batch's axis."""
        if not isinstance(value, Tensor):
            return torch.tensor(float(value), dtype=torch.float64)
        if value.dim() <= len(x.shape):
            return value
        if value.dim() == len(x.shape) + 1 and bool((value == value[:1]).all()):
            return value[0]
        raise self.refuse(f"a constant of shape {tuple(value.shape)} differs between the examples of a batch")

    def scale(self, x: Act, scale: Tensor, bias: Tensor | None) -> Act:
        """scale * x + bias, with x repeated first where the constants are larger."""
        shape = torch.broadcast_shapes(x.shape, scale.shape, () if bias is None else bias.shape)
        return self.emit(Scale(scale, bias), (self.broadcast(x, tuple(shape)),), tuple(shape))

    def add(self, parts: list[tuple[float, Act]]) -> Act:
        """Sum of activations with coefficients."""
        ranks = {len(act.shape) for _, act in parts}
        if len(ranks) > 1:
            raise self.refuse(f"adds activations of shapes {', '.join(str(act.shape) for _, act in parts)}")
        shape = tuple(torch.broadcast_shapes(*(act.shape for _, act in parts)))
        same = tuple(self.broadcast(act, shape) for _, act in parts)
        return self.emit(Add(tuple(coefficient for coefficient, _ in parts)), same, shape)

    def pad(self, x: Act, amounts: tuple[int, ...]) -> Act:
        """Zeros around x, amounts as in `torch.nn.functional.pad`."""
        if len(amounts) > 2 * len(x.shape):
            raise self.refuse("pads the batch's axis")
        shape = list(x.shape)
        for axis in range(len(amounts) // 2):
            shape[-1 - axis] += amounts[2 * axis] + amounts[2 * axis + 1]
        return x if not any(amounts) else self.emit(Pad(amounts), (x,), tuple(shape))

    def relu(self, x: Act) -> Act:
        return self.emit(Relu(), (x,), x.shape)

    def smooth(self, kind: Kind, x: Act) -> Act:
        return self.emit(Smooth(kind), (x,), x.shape)

    def times(self, x: Act, factor: float) -> Act:
        return x if factor == 1 else self.scale(x, torch.tensor(factor, dtype=torch.float64), None)

    def maximum(self, x: Act, y: Act) -> Act:
        """max(x, y) = y + relu(x - y); `Graph.extremes` knows this form."""
        shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
        x, y = self.broadcast(x, shape), self.broadcast(y, shape)
        return self.add([(1.0, y), (1.0, self.relu(self.add([(1.0, x), (-1.0, y)])))])

    def minimum(self, x: Act, y: Act) -> Act:
        """min(x, y) = y - relu(y - x)."""
        shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
        x, y = self.broadcast(x, shape), self.broadcast(y, shape)
        return self.add([(1.0, y), (-1.0, self.relu(self.add([(1.0, y), (-1.0, x)])))])

    def cut(self, x: Act, axis: int, start: int, stop: int, step: int = 1) -> Act:
        """x[start:stop:step] along one axis, which counts the batch's."""
        if (start, stop, step) == (0, x.shape[axis - 1], 1):
            return x
        shape = list(x.shape)
        shape[axis - 1] = len(range(start, stop, step))
        return self.emit(Slice(axis, start, stop, step, x.shape), (x,), tuple(shape))

    def join(self, parts: list[Act], axis: int) -> Act:
        """Parts end to end along one axis, which counts the batch's: each between zeros, then the sum."""
        total = sum(part.shape[axis - 1] for part in parts)
        done, acts = 0, []
        for part in parts:
            length = part.shape[axis - 1]
            acts.append(
                (1.0, self.pad(part, (0, 0) * (len(part.shape) - axis) + (done, total - done - length)))
            )
            done += length
        return acts[0][1] if len(acts) == 1 else self.add(acts)
