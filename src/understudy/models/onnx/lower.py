"""Writing some steps as the operator a PyTorch user would have used, so that graphs read and trace simply."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from understudy.models.onnx.read import Node
from understudy.models.onnx.steps import PerBatch, Static, Step, Weight


def linear(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b with W (out, in), b (out,): what Gemm and MatMul with constants come to."""
    return F.linear(x, weight, bias)


def flat(node: Node, x: Tensor) -> Tensor:
    """(B, ...) -> (B, everything)."""
    return x.flatten(1)


def lower(step: Step, keeps_batch: bool) -> Step:
    """Gemm and MatMul by a constant become `linear`, a reshape to (batch, rest) becomes `flat`.

    Args:
        step: as planned.
        keeps_batch: whether input and output both have the batch as first axis.
    """
    node, arguments = step.node, step.arguments
    if node.op == "Gemm":
        return _gemm(step)
    if node.op == "MatMul" and isinstance(arguments[1], Weight) and arguments[1].tensor.dim() == 2:
        return replace(step, run=linear, arguments=(arguments[0], _transposed(arguments[1])))
    if node.op == "Reshape" and keeps_batch and isinstance(arguments[1], Static):
        sizes = arguments[1].value
        if len(sizes) == 2 and sizes[0] == PerBatch(1):
            return replace(step, run=flat, arguments=arguments[:1])
    return step


def _gemm(step: Step) -> Step:
    node, arguments = step.node, step.arguments
    weight, bias = arguments[1], arguments[2] if len(arguments) > 2 else Static(None)
    if node.get("transA", 0) or isinstance(arguments[0], Weight) or not isinstance(weight, Weight):
        return step
    weight = weight if node.get("transB", 0) else _transposed(weight)
    weight = _scaled(weight, node.get("alpha", 1.0))
    if isinstance(bias, Weight):
        width = weight.tensor.shape[0]
        if bias.tensor.numel() not in (1, width) or (bias.tensor.dim() > 1 and bias.tensor.shape[0] != 1):
            return step  # a bias an example: leave the general form
        if bias.tensor.shape != (width,):
            wide = bias.tensor.reshape(-1).expand(width).contiguous()
            bias = Weight(f"{bias.key} as {width}", wide, bias.trained)
        bias = _scaled(bias, node.get("beta", 1.0))
    elif bias != Static(None):
        return step
    return replace(step, run=linear, arguments=(arguments[0], weight, bias))


def _transposed(weight: Weight) -> Weight:
    return Weight(f"{weight.key} transposed", weight.tensor.t().contiguous(), weight.trained)


def _scaled(weight: Weight, factor: float) -> Weight:
    if factor == 1.0:
        return weight
    return Weight(f"{weight.key} times {factor}", weight.tensor * factor, weight.trained)
