"""Whether two graphs are the same computation but for the numbers in it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from torch import Tensor

from understudy.bounds.graph import Activation, Add, Graph, Input, Op
from understudy.bounds.ops import Conv2d, Linear, Pool, Scale

FREE = {Linear: ("weight", "bias"), Conv2d: ("weight", "bias"), Scale: ("scale", "bias")}


def matches(teacher: Graph, student: Graph) -> bool:
    """Node by node one operation with the same parents, shape and settings; only weights may differ."""
    if len(teacher.nodes) != len(student.nodes):
        return False
    if (teacher.dtype, teacher.device) != (student.dtype, student.device):
        return False
    return all(
        ours.parents == theirs.parents and ours.shape == theirs.shape and _alike(ours.op, theirs.op)
        for ours, theirs in zip(teacher.nodes, student.nodes, strict=True)
    )


def _alike(ours: Op, theirs: Op) -> bool:
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, Input | Activation | Add):
        return ours == theirs
    free = FREE.get(type(ours), ())
    for name in (field.name for field in fields(cast(Any, ours))):
        value, other = getattr(ours, name), getattr(theirs, name)
        if name == "bias" or (name in free and _shape(value) == _shape(other)):
            continue
        if isinstance(value, Tensor):
            if not (isinstance(ours, Pool) and value.equal(other)):
                return False
        elif value != other:
            return False
    return True


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
