"""Rows that pick single entries of a node, walked back through its element-wise and first mixing operator.

One-hot rows through a convolution are its kernel, moved to its place: nothing has to be multiplied.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.graph import Graph
from understudy.bounds.ops import Conv2d, Linear, Reshape, Scale, identity_rows


class UnitRows(NamedTuple):
    """Entries of one node as rows on node `start`, plus a constant each."""

    start: int
    rows: Float[Tensor, "r ..."]
    constant: Float[Tensor, " r"]


def unit_rows(graph: Graph, position: int, index: Int[Tensor, " r"]) -> UnitRows:
    """The entries at flat positions `index` of node `position`, as rows on the earliest node that is free."""
    node = graph.nodes[position]
    if isinstance(node.op, Scale):
        below = unit_rows(graph, node.parents[0], index)
        scale = _entries(node.op.scale, node.shape, index)
        rows = below.rows * scale.view(-1, *[1] * (below.rows.dim() - 1))
        return UnitRows(below.start, rows, below.constant * scale + _entries(node.op.bias, node.shape, index))
    if isinstance(node.op, Reshape):
        return unit_rows(graph, node.parents[0], index)
    if isinstance(node.op, Conv2d):
        return UnitRows(
            node.parents[0], placed(node.op, node.shape, index), _bias(node.op, node.shape, index)
        )
    if isinstance(node.op, Linear) and len(node.shape) == 1:
        return UnitRows(node.parents[0], node.op.weight[index], _bias(node.op, node.shape, index))
    rows = identity_rows(index, node.shape, graph.dtype)
    return UnitRows(position, rows, rows.new_zeros(len(index)))


def placed(op: Conv2d, shape: tuple[int, ...], index: Int[Tensor, " r"]) -> Float[Tensor, "r c h w"]:
    """Coefficients of the outputs at flat positions `index` of `shape` on the convolution's input."""
    out, height, width = shape
    channel, rest = index // (height * width), index % (height * width)
    row, column = rest // width, rest % width
    _, group_size, tall, wide = op.weight.shape

    def steps(count: int, step: int) -> Tensor:
        return torch.arange(count, device=index.device) * step

    rows = row[:, None] * op.stride[0] + steps(tall, op.dilation[0])
    columns = column[:, None] * op.stride[1] + steps(wide, op.dilation[1])
    channels = (channel // (out // op.groups))[:, None] * group_size + steps(group_size, 1)
    (above, beside), (_, high, broad) = op.padding, op.size
    canvas = op.weight.new_zeros(len(index), op.size[0], high + 2 * above, broad + 2 * beside)
    each = torch.arange(len(index), device=index.device)[:, None, None, None]
    at = (each, channels[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :])
    canvas[at] = op.weight[channel]
    return canvas[:, :, above : above + high, beside : beside + broad]


def _entries(values: Tensor | None, shape: tuple[int, ...], index: Tensor) -> Tensor:
    if values is None:
        return torch.zeros((), device=index.device)
    return values.expand(shape).reshape(-1)[index]


def _bias(op: Conv2d | Linear, shape: tuple[int, ...], index: Tensor) -> Tensor:
    return op.weight.new_zeros(len(index)) if op.bias is None else _entries(op.bias, shape, index)
