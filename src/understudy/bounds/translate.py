"""Each linear ATen operator that can be bounded, as nodes of the graph: one function an operator, one table."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds.builder import BATCH, Act, Builder, Walled
from understudy.bounds.ops import Conv2d, Linear, Permute, Pool, Reduce

Arguments = Mapping[str, Any]
Result = Act | Walled | Tensor | tuple[Act | None, ...]


def act(b: Builder, value: Any, role: str = "its input") -> Act:
    """The value, refused where it does not depend on the input."""
    if not isinstance(value, Act):
        raise b.refuse(f"{role} is a constant, an activation was expected")
    return value


def fixed(b: Builder, value: Any, role: str) -> Any:
    """The value, refused where it depends on the input."""
    if isinstance(value, Act):
        raise b.refuse(f"{role} depends on the input, only a constant can be bounded there")
    return value


def pair(value: Any) -> tuple[int, int]:
    """One number twice, or two numbers."""
    items = [value] if isinstance(value, int) else list(value)
    return int(items[0]), int(items[-1])


def _linear(b: Builder, a: Arguments) -> Act:
    x = act(b, a["input"])
    weight, bias = fixed(b, a["weight"], "the weight"), fixed(b, a["bias"], "the bias")
    return b.emit(Linear(weight, bias), (x,), (*x.shape[:-1], len(weight)))


def _product(b: Builder, left: Any, right: Any, bias: Tensor | None) -> Act:
    x, weight = act(b, left, "the left factor"), fixed(b, right, "the right factor")
    if weight.dim() != 2:
        raise b.refuse(f"a factor of shape {tuple(weight.shape)} is not a matrix")
    return b.emit(Linear(weight.T.contiguous(), bias), (x,), (*x.shape[:-1], weight.shape[1]))


def _matmul(b: Builder, a: Arguments) -> Act:
    return _product(b, a["self"], a["other"] if "other" in a else a["mat2"], None)


def _addmm(b: Builder, a: Arguments) -> Act:
    product = _product(b, a["mat1"], a["mat2"], None)
    return _sum(b, product, a["self"], float(a["alpha"]), float(a["beta"]))


def _convolution(b: Builder, a: Arguments) -> Act:
    x = act(b, a["input"])
    weight, bias = fixed(b, a["weight"], "the weight"), fixed(b, a["bias"], "the bias")
    if len(x.shape) != 3:
        raise b.refuse(
            f"its input has shape {x.shape} for one example, (channels, height, width) was expected"
        )
    stride, dilation, padding = pair(a["stride"]), pair(a["dilation"]), a["padding"]
    if padding == "same":
        total = [dilation[i] * (weight.shape[2 + i] - 1) for i in range(2)]
        x = b.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
    padding = (0, 0) if isinstance(padding, str) else pair(padding)
    shift = None if bias is None else bias[:, None, None]
    op = Conv2d(weight, shift, stride, padding, dilation, int(a["groups"]), x.shape)
    probe = op.linear(weight.new_zeros(1, *x.shape))
    return b.emit(op, (x,), tuple(probe.shape[1:]))


def _batch_norm(b: Builder, a: Arguments) -> Result:
    if a.get("training"):
        raise b.refuse("uses the statistics of the batch")
    x = act(b, a["input"])
    scale = (a["running_var"] + a["eps"]).rsqrt()
    if a["weight"] is not None:
        scale = scale * a["weight"]
    bias = -a["running_mean"] * scale
    if a["bias"] is not None:
        bias = bias + a["bias"]
    shape = (-1, *[1] * (len(x.shape) - 1))
    y = b.scale(x, scale.reshape(shape), bias.reshape(shape))
    return y if "cudnn_enabled" in a else (y, None, None)


def _same(b: Builder, a: Arguments) -> Act:
    if a.get("train"):
        raise b.refuse("drops units at random")
    return act(b, a["self"] if "self" in a else a["input"])


def _reshape(b: Builder, a: Arguments) -> Act:
    x, shape = act(b, a["self"]), a["result"]
    if shape[0] != BATCH:
        raise b.refuse(f"moves the batch's axis: a batch of {BATCH} became {shape}")
    return b.reshape(x, tuple(shape[1:]))


def _expand(b: Builder, a: Arguments) -> Act:
    x, shape = act(b, a["self"]), a["result"]
    if len(shape) != len(x.shape) + 1:
        raise b.refuse("adds an axis before the batch's")
    return b.broadcast(x, tuple(shape[1:]))


def _permute(b: Builder, a: Arguments) -> Act:
    x = act(b, a["self"])
    rank = len(x.shape) + 1
    order = list(range(rank))
    if "dims" in a:
        order = [axis % rank for axis in a["dims"]]
    else:
        i, j = a.get("dim0", 0) % rank, a.get("dim1", 1) % rank
        order[i], order[j] = order[j], order[i]
    if order[0] != 0:
        raise b.refuse("moves the batch's axis")
    return b.emit(Permute(tuple(order)), (x,), tuple(x.shape[axis - 1] for axis in order[1:]))


def _sum(b: Builder, left: Any, right: Any, alpha: float, beta: float = 1.0) -> Act:
    """alpha * left + beta * right."""
    if isinstance(left, Act) and isinstance(right, Act):
        return b.add([(alpha, left), (beta, right)])
    if isinstance(right, Act):
        left, right, alpha, beta = right, left, beta, alpha
    x = act(b, left)
    return b.scale(x, torch.tensor(alpha, dtype=torch.float64), beta * b.constant(right, x))


def _add(b: Builder, a: Arguments) -> Act:
    return _sum(b, a["self"], a["other"], 1.0, float(a["alpha"]))


def _sub(b: Builder, a: Arguments) -> Act:
    return _sum(b, a["self"], a["other"], 1.0, -float(a["alpha"]))


def _rsub(b: Builder, a: Arguments) -> Act:
    return _sum(b, a["self"], a["other"], -float(a["alpha"]))


def _neg(b: Builder, a: Arguments) -> Act:
    return b.scale(act(b, a["self"]), torch.tensor(-1.0, dtype=torch.float64), None)


def _div(b: Builder, a: Arguments) -> Act:
    if a.get("rounding_mode") is not None:
        raise b.refuse(f"rounds ({a['rounding_mode']})")
    x = act(b, a["self"], "the numerator")
    return b.scale(x, 1.0 / b.constant(fixed(b, a["other"], "the denominator"), x), None)


def _reduce(b: Builder, a: Arguments) -> Act:
    x = act(b, a["self"])
    rank = len(x.shape) + 1
    axes = tuple(sorted(axis % rank for axis in a.get("dim") or range(rank)))
    if 0 in axes:
        raise b.refuse("reduces over the batch")
    count = 1
    for axis in axes:
        count *= x.shape[axis - 1]
    factor = 1.0 / count if "mean" in b.operator else 1.0
    kept = tuple(1 if axis + 1 in axes else length for axis, length in enumerate(x.shape))
    y = b.emit(Reduce(axes, factor, x.shape), (x,), kept)
    return b.reshape(y, tuple(a["result"][1:]))


def _pool(b: Builder, x: Act, along: Callable[[Tensor, int], Tensor], factor: float) -> Act:
    if len(x.shape) != 3:
        raise b.refuse(
            f"its input has shape {x.shape} for one example, (channels, height, width) was expected"
        )
    height, width = x.shape[1:]
    rows = along(torch.eye(height, dtype=torch.float64)[:, None, :, None], 0)[:, 0, :, 0].T * factor
    columns = along(torch.eye(width, dtype=torch.float64)[:, None, None, :], 1)[:, 0, 0, :].T
    return b.emit(Pool(rows, columns), (x,), (x.shape[0], len(rows), len(columns)))


def _avg_pool(b: Builder, a: Arguments) -> Act:
    kernel, padding = pair(a["kernel_size"]), pair(a["padding"])
    stride = pair(a["stride"]) if a["stride"] else kernel
    divisor = a["divisor_override"]

    def along(image: Tensor, axis: int) -> Tensor:
        def only(pair: tuple[int, int], other: int) -> list[int]:
            return [pair[0], other] if axis == 0 else [other, pair[1]]

        return F.avg_pool2d(
            image, only(kernel, 1), only(stride, 1), only(padding, 0), a["ceil_mode"], a["count_include_pad"],
            1 if divisor else None,
        )  # fmt: skip

    return _pool(b, act(b, a["self"]), along, 1.0 / divisor if divisor else 1.0)


def _adaptive_pool(b: Builder, a: Arguments) -> Act:
    size = pair(a["output_size"])

    def along(image: Tensor, axis: int) -> Tensor:
        return F.adaptive_avg_pool2d(image, (size[0], 1) if axis == 0 else (1, size[1]))

    return _pool(b, act(b, a["self"]), along, 1.0)


def _slice(b: Builder, a: Arguments) -> Act:
    x, rank = act(b, a["self"]), len(act(b, a["self"]).shape) + 1
    axis = a["dim"] % rank
    length = BATCH if axis == 0 else x.shape[axis - 1]
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(length)
    if (start, stop, step) == (0, length, 1):
        return x
    if axis == 0:
        raise b.refuse("cuts the batch")
    return b.cut(x, axis, start, stop, step)


def _parts(b: Builder, a: Arguments) -> tuple[Act, ...]:
    """split and split_with_sizes: every part."""
    x, axis = act(b, a["self"]), a["dim"] % (len(a["self"].shape) + 1)
    if axis == 0:
        raise b.refuse("cuts the batch")
    length = x.shape[axis - 1]
    if "split_sizes" in a:
        sizes = list(a["split_sizes"])
    else:
        sizes = [min(a["split_size"], length - start) for start in range(0, length, a["split_size"])]
    stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(b.cut(x, axis, stop - size, stop) for size, stop in zip(sizes, stops, strict=True))


def _select(b: Builder, a: Arguments) -> Act:
    x = act(b, a["self"])
    axis = a["dim"] % (len(x.shape) + 1)
    if axis == 0:
        raise b.refuse("cuts the batch")
    start = a["index"] % x.shape[axis - 1]
    y = _slice(b, {"self": x, "dim": axis, "start": start, "end": start + 1, "step": 1})
    return b.reshape(y, tuple(a["result"][1:]))


def _pad(b: Builder, a: Arguments) -> Act | Walled:
    if a.get("mode", "constant") != "constant":
        raise b.refuse(f"pads with mode {a['mode']!r}")
    x, amounts = act(b, a["self"]), tuple(a["pad"])
    if a.get("value") == -torch.inf and min(amounts) >= 0:
        return Walled(x, amounts)
    if not math.isfinite(a.get("value") or 0.0):
        raise b.refuse(f"pads with {a['value']}")
    y = b.pad(x, amounts)
    if not a.get("value"):
        return y
    border = 1.0 - F.pad(torch.ones(x.shape, dtype=torch.float64), list(amounts))
    return b.scale(y, torch.ones((), dtype=torch.float64), a["value"] * border)


def _concatenate(b: Builder, a: Arguments) -> Act:
    """Each part between zeros, then the sum."""
    parts, total = list(a["tensors"]), a["result"]
    axis = a["dim"] % len(total)
    if axis == 0:
        raise b.refuse("joins along the batch's axis")
    done, acts, fixed = 0, [], torch.zeros(total[1:], dtype=torch.float64)
    for part in parts:
        shape = part.shape if isinstance(part, Act) else tuple(part.shape[1:])
        length = shape[axis - 1]
        amounts = (0, 0) * (len(total) - 1 - axis) + (done, total[axis] - done - length)
        done += length
        if isinstance(part, Act):
            acts.append((1.0, b.pad(part, amounts)))
        else:
            fixed = fixed + F.pad(b.constant(part, Act(0, shape)), list(amounts))
    y = b.add(acts)
    return b.scale(y, torch.ones((), dtype=torch.float64), fixed) if bool((fixed != 0).any()) else y


def _stack(b: Builder, a: Arguments) -> Act:
    """A new axis of size 1 in every part, then concatenation."""
    axis = a["dim"] % len(a["result"])
    if axis == 0:
        raise b.refuse("joins along the batch's axis")
    parts = []
    for part in a["tensors"]:
        new = isinstance(part, Act) and (*part.shape[: axis - 1], 1, *part.shape[axis - 1 :])
        parts.append(b.reshape(part, new) if new else part.unsqueeze(axis))
    return _concatenate(b, {**a, "tensors": parts})


def _filled(b: Builder, a: Arguments) -> Tensor:
    """A constant that takes only its shape from an activation."""
    value = a["fill_value"] if "fill_value" in a else float("ones" in b.operator)
    return torch.full(a["result"], float(value), dtype=torch.float64)


def item(b: Builder, container: Any, index: int) -> Any:
    """One of several results."""
    value = operator.getitem(container, index)
    if value is None:
        raise b.refuse(f"its result number {index} cannot be bounded")
    return value


Handler = Callable[[Builder, Arguments], Result]
LINEAR: dict[str, Handler] = {
    "linear": _linear, "addmm": _addmm, "matmul": _matmul, "mm": _matmul,
    "conv2d": _convolution,
    "_native_batch_norm_legit_no_training": _batch_norm, "batch_norm": _batch_norm,
    "dropout": _same, "clone": _same, "contiguous": _same, "alias": _same, "detach": _same,
    "view": _reshape, "reshape": _reshape, "_unsafe_view": _reshape, "flatten": _reshape,
    "unsqueeze": _reshape, "squeeze": _reshape, "unflatten": _reshape, "expand": _expand,
    "permute": _permute, "transpose": _permute, "t": _permute,
    "add": _add, "sub": _sub, "rsub": _rsub, "neg": _neg, "div": _div,
    "mean": _reduce, "sum": _reduce, "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_pool, "_adaptive_avg_pool2d": _adaptive_pool,
    "slice": _slice, "select": _select, "constant_pad_nd": _pad, "pad": _pad, "cat": _concatenate, "stack": _stack,
    "split": _parts, "split_with_sizes": _parts,
    "zeros_like": _filled, "ones_like": _filled, "full_like": _filled,
    "new_zeros": _filled, "new_ones": _filled, "new_full": _filled,
}  # fmt: skip
