"""ONNX's sliding windows: convolution and pooling, over one, two or three spatial axes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import InputError
from understudy.models.onnx.read import Node

CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMUM: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _geometry(node: Node, x: Tensor, kernel: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and padding before and after each spatial axis; `auto_pad` worked out."""
    axes = x.dim() - 2
    if axes not in CONV:
        raise InputError(f"node {node.name!r} ({node.op}): 1 to 3 spatial axes are supported, found {axes}")
    strides = list(node.get("strides", [1] * axes))
    dilations = list(node.get("dilations", [1] * axes))
    auto = node.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = list(node.get("pads", [0] * (2 * axes)))
        return strides, dilations, pads[:axes], pads[axes:]
    if auto == "VALID":
        return strides, dilations, [0] * axes, [0] * axes
    before, after = [], []
    for size, window, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        reach = (window - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if auto == "SAME_LOWER" else small)
        after.append(small if auto == "SAME_LOWER" else large)
    return strides, dilations, before, after


def _padded(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> Tensor:
    pairs = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    return F.pad(x, pairs, value=value)


def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv: (B, C, *space) with weight (O, C / group, *kernel) -> (B, O, *space')."""
    strides, dilations, before, after = _geometry(node, x, list(weight.shape[2:]))
    if before != after:
        x, before = _padded(x, before, after), [0] * len(before)
    return CONV[x.dim() - 2](x, weight, bias, strides, before, dilations, node.get("group", 1))


def average_pool(node: Node, x: Tensor) -> Tensor:
    """AveragePool: (B, C, *space) -> (B, C, *space'); padding counts only if `count_include_pad`."""
    kernel = list(node.get("kernel_shape"))
    strides, dilations, before, after = _geometry(node, x, kernel)
    if any(dilation != 1 for dilation in dilations):
        raise InputError(f"node {node.name!r} (AveragePool): dilations {dilations} are not supported, only 1")
    pool, ceil = AVERAGE[x.dim() - 2], bool(node.get("ceil_mode", 0))
    counted = bool(node.get("count_include_pad", 0))
    native = before == after and all(2 * pad <= window for pad, window in zip(before, kernel, strict=True))
    if native:
        return pool(x, kernel, strides, before, ceil, counted)
    mean = pool(_padded(x, before, after), kernel, strides, 0, ceil)
    if counted:
        return mean
    share = pool(_padded(torch.ones_like(x[:1, :1]), before, after), kernel, strides, 0, ceil)
    return mean / share


def max_pool(node: Node, x: Tensor) -> Tensor:
    """MaxPool: (B, C, *space) -> (B, C, *space'); padding never wins."""
    kernel = list(node.get("kernel_shape"))
    strides, dilations, before, after = _geometry(node, x, kernel)
    if before != after or any(2 * pad > window for pad, window in zip(before, kernel, strict=True)):
        x, before = _padded(x, before, after, float("-inf")), [0] * len(before)
    return MAXIMUM[x.dim() - 2](x, kernel, strides, before, dilations, bool(node.get("ceil_mode", 0)))


def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """GlobalAveragePool: (B, C, *space) -> (B, C, 1, ...)."""
    return x.mean(dim=list(range(2, x.dim())), keepdim=True)


def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """GlobalMaxPool: (B, C, *space) -> (B, C, 1, ...)."""
    return x.amax(dim=list(range(2, x.dim())), keepdim=True)
