"""The parts of a plan: one step an operator, with where each of its arguments comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from understudy.models.onnx.read import Node


@dataclass(frozen=True)
class PerBatch:
    """A size that grows with the batch: `times` for each example."""

    times: int


@dataclass(frozen=True)
class Value:
    """An argument computed by an earlier step, or the input."""

    name: str


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant of the file. Arguments with one `key` are one tensor; `trained` makes it a parameter."""

    key: str
    tensor: Tensor
    trained: bool


@dataclass(frozen=True)
class Static:
    """A number, a list of numbers or None; sizes may be `PerBatch`."""

    value: Any

    def at(self, batch: Any) -> Any:
        """The value for a batch of this size."""
        return _at(self.value, batch)


Argument = Value | Weight | Static


@dataclass(frozen=True, eq=False)
class Step:
    """Run `run(node, *arguments)` and call the results `outputs`."""

    name: str
    node: Node
    run: Callable[..., Any]
    arguments: tuple[Argument, ...]
    outputs: tuple[str, ...]


def _at(value: Any, batch: Any) -> Any:
    if isinstance(value, list):
        return [_at(entry, batch) for entry in value]
    return batch * value.times if isinstance(value, PerBatch) else value
