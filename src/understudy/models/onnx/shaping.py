"""ONNX's operators that move, cut and join tensors. Arguments called static are Python numbers and lists."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import InputError
from understudy.models.onnx.read import Node

FAR = 2**31 - 1  # beyond any axis


def _axes(node: Node, static: Any) -> list[int] | None:
    """Axes come as an attribute in older files, as an input in newer ones."""
    found = node.get("axes") if static is None else static
    return found if found is None else [found] if isinstance(found, int) else list(found)


def flatten(node: Node, x: Tensor) -> Tensor:
    """Flatten: everything before `axis` becomes rows, the rest columns."""
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 0:
        return x.reshape(1, -1)
    rows = x if axis == 1 else x.flatten(0, axis - 1)
    return rows.flatten(1) if rows.dim() > 1 else rows.unsqueeze(1)


def reshape(node: Node, x: Tensor, shape: Any) -> Tensor:
    """Reshape: 0 keeps the input's size (unless `allowzero`), -1 is worked out."""
    keep = not node.get("allowzero", 0)
    sizes = [x.shape[i] if keep and isinstance(s, int) and s == 0 else s for i, s in enumerate(shape)]
    return x.reshape(sizes)


def squeeze(node: Node, x: Tensor, axes: Any = None) -> Tensor:
    """Squeeze: drop the named axes of size 1, or all such axes."""
    chosen = _axes(node, axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def unsqueeze(node: Node, x: Tensor, axes: Any = None) -> Tensor:
    """Unsqueeze: insert axes of size 1 at these places of the result."""
    chosen = _axes(node, axes) or []
    rank = x.dim() + len(chosen)
    for axis in sorted(a + rank if a < 0 else a for a in chosen):
        x = x.unsqueeze(axis)
    return x


def transpose(node: Node, x: Tensor) -> Tensor:
    """Transpose: reorder axes by `perm`, reversed by default."""
    return x.permute(list(node.get("perm", range(x.dim() - 1, -1, -1))))


def concat(node: Node, *parts: Tensor) -> Tensor:
    """Concat along `axis`."""
    return torch.cat(parts, dim=node.get("axis"))


def pad(node: Node, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    """Pad: constant, reflect or edge; `pads` lists all starts, then all ends."""
    sizes = list(node.get("pads") if pads is None else pads)
    chosen = list(range(x.dim())) if axes is None else [a + x.dim() if a < 0 else a for a in axes]
    pairs = [0] * (2 * x.dim())
    for place, axis in enumerate(chosen):
        last = 2 * (x.dim() - 1 - axis)  # torch lists the last axis first
        pairs[last], pairs[last + 1] = sizes[place], sizes[place + len(chosen)]
    mode = node.get("mode", "constant")
    if mode == "constant":
        fill = node.get("value", 0.0) if value is None else value
        return F.pad(x, pairs, value=float(fill[0] if isinstance(fill, list) else fill))
    if mode not in ("reflect", "edge"):
        raise InputError(
            f"node {node.name!r} (Pad): mode {mode!r} is not supported; constant, reflect, edge are"
        )
    if any(pairs[2 * (x.dim() - 2) :]):
        raise InputError(
            f"node {node.name!r} (Pad): mode {mode!r} can pad spatial axes only, found pads {sizes}"
        )
    return F.pad(x, pairs[: 2 * (x.dim() - 2)], mode="replicate" if mode == "edge" else mode)


def slice_(
    node: Node, x: Tensor, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> Tensor:
    """Slice: Python's slicing by axis; negative steps are refused."""
    first = list(node.get("starts") if starts is None else starts)
    last = list(node.get("ends") if ends is None else ends)
    chosen = _axes(node, axes) or list(range(len(first)))
    strides = [1] * len(first) if steps is None else list(steps)
    if any(step < 1 for step in strides):
        raise InputError(f"node {node.name!r} (Slice): steps must be positive, found {strides}")
    cut: list[slice] = [slice(None)] * x.dim()
    for axis, begin, end, step in zip(chosen, first, last, strides, strict=True):
        cut[axis] = slice(_near(begin), _near(end), step)
    return x[tuple(cut)]


def _near(place: Any) -> Any:
    """Exporters write "to the end" as the largest integer, which torch warns about."""
    return max(-FAR, min(FAR, place)) if type(place) is int else place


def split(node: Node, x: Tensor, sizes: Any = None) -> tuple[Tensor, ...]:
    """Split along `axis` into the given sizes, or into equal parts."""
    axis = node.get("axis", 0)
    chosen = node.get("split") if sizes is None else sizes
    if chosen is None:
        part = -(-x.shape[axis] // len(node.outputs))
        return tuple(x.split(part, dim=axis))
    return tuple(x.split(list(chosen), dim=axis))


def gather(node: Node, x: Tensor, index: Any) -> Tensor:
    """Gather along `axis` at a fixed place (drops the axis) or list of places."""
    axis = node.get("axis", 0)
    if isinstance(index, int):
        return x.select(axis, index)
    wanted = torch.as_tensor(index, dtype=torch.int64, device=x.device)
    wanted = torch.where(wanted < 0, wanted + x.shape[axis], wanted)
    picked = x.index_select(axis, wanted.flatten())
    axis = axis + x.dim() if axis < 0 else axis
    return picked.reshape(*x.shape[:axis], *wanted.shape, *x.shape[axis + 1 :])


def expand(node: Node, x: Tensor, shape: Any) -> Tensor:
    """Expand: broadcast both ways between x and the shape."""
    extra = [1] * (len(shape) - x.dim())
    own = [*extra, *x.shape]
    wanted = [*([1] * (len(own) - len(shape))), *shape]
    sizes = [
        mine if isinstance(want, int) and want == 1 else want for mine, want in zip(own, wanted, strict=True)
    ]
    return x.expand(sizes)


def tile(node: Node, x: Tensor, repeats: Any) -> Tensor:
    """Tile: repeat each axis."""
    return x.repeat(list(repeats))


def shape_of(node: Node, x: Tensor) -> Tensor:
    """Shape: sizes as integers, `start` to `end`."""
    return torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end")], dtype=torch.int64)


def constant_of_shape(node: Node, shape: Any) -> Tensor:
    """ConstantOfShape: one value, zero by default, everywhere."""
    value = node.get("value")
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).expand(list(shape)).clone()


def arange(node: Node, start: Any, limit: Any, step: Any) -> Tensor:
    """Range: start, start + step, ... below limit."""
    return torch.arange(start, limit, step)
