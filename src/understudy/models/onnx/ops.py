"""The table of ONNX operators understood, and those that are a line of torch.

A function takes the node (for its attributes) and the operator's inputs in order, None where one is left out.
Inputs listed as `static` are handed over as Python numbers or lists: they must not depend on the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import InputError
from understudy.models.onnx import shaping, windows
from understudy.models.onnx.read import Node

FLOATS = (1, 10, 11, 16)  # TensorProto: float, float16, double, bfloat16
INTEGERS = {2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool}


@dataclass(frozen=True)
class Op:
    """How an operator is run: the function, and which of its inputs are handed over as Python numbers."""

    run: Callable[..., Any]
    static: tuple[int, ...] = ()


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm: alpha A B + beta C, either transposed."""
    a = a.t() if node.get("transA", 0) else a
    b = b if node.get("transB", 0) else b.t()
    product = node.get("alpha", 1.0) * F.linear(a, b)
    return product if c is None else product + node.get("beta", 1.0) * c


def batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """BatchNormalization as used in inference: the stored statistics."""
    if node.get("training_mode", 0) or node.get("spatial", 1) == 0:
        raise InputError(
            f"node {node.name!r} (BatchNormalization): only inference mode a channel is supported"
        )
    return F.batch_norm(x, mean, var, scale, bias, training=False, eps=node.get("epsilon", 1e-5))


def layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """LayerNormalization over the axes from `axis` on."""
    return F.layer_norm(x, list(x.shape[node.get("axis", -1) :]), scale, bias, node.get("epsilon", 1e-5))


def softmax(node: Node, x: Tensor) -> Tensor:
    """Softmax; before operator set 13 over all axes from `axis` (default 1) on, taken as one."""
    if node.opset >= 13:
        return x.softmax(node.get("axis", -1))
    return x.flatten(node.get("axis", 1)).softmax(-1).reshape(x.shape)


def log_softmax(node: Node, x: Tensor) -> Tensor:
    """LogSoftmax, with Softmax's axes."""
    if node.opset >= 13:
        return x.log_softmax(node.get("axis", -1))
    return x.flatten(node.get("axis", 1)).log_softmax(-1).reshape(x.shape)


def divide(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """Div; integers (sizes) are divided towards zero."""
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def clip(node: Node, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Clip to [low, high], either of which may be left out."""
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    return x.clamp(low, high)


def cast(node: Node, x: Tensor) -> Tensor:
    """Cast; between floats it changes nothing, so that the module may be run in any precision."""
    target = node.get("to")
    if target in FLOATS:
        return x if x.is_floating_point() else x.float()
    if target not in INTEGERS:
        raise InputError(f"node {node.name!r} (Cast): target type {target} is not supported")
    return x.to(INTEGERS[target])


def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    """CastLike; between floats it changes nothing, as in `cast`."""
    return x if x.is_floating_point() and like.is_floating_point() else x.to(like.dtype)


def constant(node: Node) -> Tensor:
    """Constant: the tensor, number or list in the node's attribute."""
    if isinstance(node.get("value"), Tensor):
        return node.get("value")
    for key, kind in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if key in node.attributes:
            return torch.tensor(node.get(key), dtype=kind)
    for key in ("value_int", "value_ints"):
        if key in node.attributes:
            return torch.tensor(node.get(key), dtype=torch.int64)
    raise InputError(f"node {node.name!r} (Constant): {', '.join(node.attributes)} is not supported")


def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu: x above 0, slope * x below; the slope is broadcast to x."""
    shape = [1] * (x.dim() - slope.dim()) + list(slope.shape)
    if slope.numel() == 1 or (x.dim() > 1 and shape == [1, x.shape[1], *[1] * (x.dim() - 2)]):
        return F.prelu(x, slope.reshape(-1))
    return F.relu(x) - slope * F.relu(-x)


def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """HardSigmoid: alpha x + beta, cut to [0, 1]."""
    return (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0, 1)


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(node: Node, x: Tensor, axes: Any = None) -> Tensor:
        found = node.get("axes") if axes is None else axes
        if not found and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, dim=list(found or range(x.dim())), keepdim=bool(node.get("keepdims", 1)))

    return run


OPS: dict[str, Op] = {
    "Abs": Op(lambda node, x: x.abs()),
    "Add": Op(lambda node, a, b: a + b),
    "AveragePool": Op(windows.average_pool),
    "BatchNormalization": Op(batch_norm),
    "Cast": Op(cast),
    "CastLike": Op(cast_like),
    "Clip": Op(clip, (1, 2)),
    "Concat": Op(shaping.concat),
    "Constant": Op(constant),
    "ConstantOfShape": Op(shaping.constant_of_shape, (0,)),
    "Conv": Op(windows.conv),
    "Div": Op(divide),
    "Dropout": Op(lambda node, x, *rest: x),
    "Elu": Op(lambda node, x: F.elu(x, node.get("alpha", 1.0))),
    "Equal": Op(lambda node, a, b: a == b),
    "Erf": Op(lambda node, x: torch.erf(x)),
    "Exp": Op(lambda node, x: x.exp()),
    "Expand": Op(shaping.expand, (1,)),
    "Flatten": Op(shaping.flatten),
    "Gather": Op(shaping.gather, (1,)),
    "Gelu": Op(lambda node, x: F.gelu(x, approximate=node.get("approximate", "none"))),
    "Gemm": Op(gemm),
    "GlobalAveragePool": Op(windows.global_average_pool),
    "GlobalMaxPool": Op(windows.global_max_pool),
    "HardSigmoid": Op(hard_sigmoid),
    "Identity": Op(lambda node, x: x),
    "LayerNormalization": Op(layer_norm),
    "LeakyRelu": Op(lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01))),
    "LogSoftmax": Op(log_softmax),
    "MatMul": Op(lambda node, a, b: a @ b),
    "Max": Op(lambda node, *x: reduce(torch.maximum, x)),
    "MaxPool": Op(windows.max_pool),
    "Min": Op(lambda node, *x: reduce(torch.minimum, x)),
    "Mul": Op(lambda node, a, b: a * b),
    "Neg": Op(lambda node, x: -x),
    "Pad": Op(shaping.pad, (1, 2, 3)),
    "PRelu": Op(prelu),
    "Pow": Op(lambda node, a, b: a**b),
    "Range": Op(shaping.arange, (0, 1, 2)),
    "ReduceMax": Op(_reduction(torch.amax), (1,)),
    "ReduceMean": Op(_reduction(torch.mean), (1,)),
    "ReduceMin": Op(_reduction(torch.amin), (1,)),
    "ReduceSum": Op(_reduction(torch.sum), (1,)),
    "Relu": Op(lambda node, x: F.relu(x)),
    "Reshape": Op(shaping.reshape, (1,)),
    "Shape": Op(shaping.shape_of),
    "Sigmoid": Op(lambda node, x: x.sigmoid()),
    "Slice": Op(shaping.slice_, (1, 2, 3, 4)),
    "Softmax": Op(softmax),
    "Softplus": Op(lambda node, x: F.softplus(x)),
    "Split": Op(shaping.split, (1,)),
    "Sqrt": Op(lambda node, x: x.sqrt()),
    "Squeeze": Op(shaping.squeeze, (1,)),
    "Sub": Op(lambda node, a, b: a - b),
    "Tanh": Op(lambda node, x: x.tanh()),
    "Tile": Op(shaping.tile, (1,)),
    "Transpose": Op(shaping.transpose),
    "Unsqueeze": Op(shaping.unsqueeze, (1,)),
    "Where": Op(lambda node, condition, a, b: torch.where(condition, a, b)),
}


def check_supported(nodes: tuple[Node, ...], source: str) -> None:
    """Refuse a file that uses an operator outside the table, naming operator and node."""
    strange = [node for node in nodes if node.op not in OPS]
    if strange:
        found = ", ".join(f"{node.op} (node {node.name!r})" for node in strange[:5])
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise InputError(f"{source}: unsupported operator {found}{more}; supported: {', '.join(sorted(OPS))}")
