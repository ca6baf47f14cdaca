"""Each nonlinear ATen operator that can be bounded: piecewise linear ones by ReLUs, smooth ones by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from understudy.bounds.builder import Act, Builder, Walled
from understudy.bounds.graph import Relu, Smooth
from understudy.bounds.ops import Scale
from understudy.bounds.smooth import THRESHOLD, Kind
from understudy.bounds.translate import Arguments, Handler, act, fixed


def _relu(b: Builder, a: Arguments) -> Act:
    return b.relu(act(b, a["self"]))


def _beside(b: Builder, x: Act, constant: Any, factor: float = 1.0) -> Act:
    """factor * x + constant."""
    return b.scale(x, torch.tensor(factor, dtype=torch.float64), b.constant(constant, x))


def _above(b: Builder, x: Act, least: Any) -> Act:
    """max(x, least) = least + relu(x - least)."""
    least = b.constant(fixed(b, least, "a limit"), x)
    if bool((least == 0).all()):
        return b.relu(x)
    return _beside(b, b.relu(_beside(b, x, -least)), least)


def _below(b: Builder, x: Act, most: Any) -> Act:
    """min(x, most) = most - relu(most - x)."""
    most = b.constant(fixed(b, most, "a limit"), x)
    return _beside(b, b.relu(_beside(b, x, most, -1.0)), most, -1.0)


def _limits(b: Builder, x: Act, least: Any, most: Any) -> Act:
    """x between two constants, either of which may be missing; one after the other keeps intervals exact."""
    if least is not None and most is not None:
        low, high = b.constant(fixed(b, least, "a limit"), x), b.constant(fixed(b, most, "a limit"), x)
        if not bool((low <= high).all()):
            raise b.refuse(f"its least value, {least}, is not below its largest, {most}")
    x = x if most is None else _below(b, x, most)
    return x if least is None else _above(b, x, least)


def _clamp(b: Builder, a: Arguments) -> Act:
    return _limits(b, act(b, a["self"]), a.get("min"), a.get("max"))


def _hardtanh(b: Builder, a: Arguments) -> Act:
    return _limits(b, act(b, a["self"]), a["min_val"], a["max_val"])


def _relu6(b: Builder, a: Arguments) -> Act:
    return _limits(b, act(b, a["self"]), 0.0, 6.0)


def _hardsigmoid(b: Builder, a: Arguments) -> Act:
    x = act(b, a["self"])
    return _limits(b, _beside(b, x, 0.5, 1 / 6), 0.0, 1.0)


def _threshold(b: Builder, a: Arguments) -> Act:
    if a["threshold"] != 0 or a["value"] != 0:
        raise b.refuse(f"replaces what is at most {a['threshold']} by {a['value']}, only 0 by 0 is a ReLU")
    return _relu(b, a)


def _abs(b: Builder, a: Arguments) -> Act:
    x = act(b, a["self"])
    return b.add([(2.0, b.relu(x)), (-1.0, x)])


def _leaky(b: Builder, a: Arguments) -> Act:
    """s x + (1 - s) relu(x)."""
    x, slope = act(b, a["self"]), float(a["negative_slope"])
    return b.add([(slope, x), (1.0 - slope, b.relu(x))])


def _prelu(b: Builder, a: Arguments) -> Act:
    """The same with a slope a channel, channels being the first axis of an example."""
    x, slope = act(b, a["self"]), fixed(b, a["weight"], "the slope")
    if slope.dim() < 2:
        slope = slope.reshape(-1, *[1] * (len(x.shape) - 1))
    else:  # given with the batch's axis
        slope = b.constant(slope, x)
    bent = b.scale(b.relu(x), 1.0 - slope, None)
    return b.add([(1.0, b.scale(x, slope, None)), (1.0, bent)])


def _extreme(b: Builder, a: Arguments, largest: bool) -> Act | tuple[Act | None, ...]:
    """maximum and minimum of two, and max and min along an axis (whose places cannot be bounded)."""
    if "dim" in a:
        return _reduced(b, a, largest), None
    if "other" not in a:
        raise b.refuse("reduces over the batch")
    left, right = a["self"], a["other"]
    if isinstance(left, Act) and isinstance(right, Act):
        return b.maximum(left, right) if largest else b.minimum(left, right)
    x, constant = (left, right) if isinstance(left, Act) else (right, left)
    return _above(b, act(b, x), constant) if largest else _below(b, act(b, x), constant)


def _reduced(b: Builder, a: Arguments, largest: bool) -> Act:
    """amax and amin: halves against each other until one is left."""
    x, dim = act(b, a["self"]), a["dim"]
    rank = len(x.shape) + 1
    axes = [axis % rank for axis in ([dim] if isinstance(dim, int) else list(dim) or range(rank))]
    if 0 in axes:
        raise b.refuse("reduces over the batch")
    for axis in axes:
        while (length := x.shape[axis - 1]) > 1:
            half = -(-length // 2)
            halves = b.cut(x, axis, 0, half), b.cut(x, axis, length - half, length)
            x = b.maximum(*halves) if largest else b.minimum(*halves)
    kept = [length for axis, length in enumerate(x.shape, start=1) if a["keepdim"] or axis not in axes]
    return b.reshape(x, tuple(kept))


def _pick(b: Builder, x: Act, axis: int, places: Sequence[int]) -> Act:
    """x at these places along one axis: a slice where they are evenly spaced, else slices side by side."""
    gaps = [later - earlier for earlier, later in pairwise(places)]
    step = max(1, max(set(gaps), key=gaps.count)) if gaps else 1
    starts = [0, *(i + 1 for i, gap in enumerate(gaps) if gap != step)]
    runs = [places[start:stop] for start, stop in zip(starts, [*starts[1:], len(places)], strict=True)]
    return b.join([b.cut(x, axis, run[0], run[-1] + 1, step) for run in runs], axis)


def _windows(b: Builder, x: Act, axis: int, windows: list[list[int | None]]) -> Act:
    """The largest of each window along one axis. None stands for the wall, which is never the largest.

    Windows are one entry a place in the kernel. A place on the wall, or beyond the end of a shorter window,
    repeats the window's nearest cell: that changes no maximum.
    """
    if any(all(place is None for place in window) for window in windows):
        raise b.refuse("a window lies outside its input")
    filled: list[list[int]] = []
    for window in windows:
        inside = [(i, place) for i, place in enumerate(window) if place is not None]
        filled.append([min((abs(i - j), place) for j, place in inside)[1] for i in range(len(window))])
    rows = [_pick(b, x, axis, [window[i] for window in filled]) for i in range(len(filled[0]))]
    while len(rows) > 1:
        pairs = [b.maximum(rows[i], rows[i + 1]) for i in range(0, len(rows) - 1, 2)]
        rows = pairs + rows[len(rows) // 2 * 2 :]
    return rows[0]


def _spatial(b: Builder, x: Act, count: int) -> None:
    if len(x.shape) != count + 1:
        raise b.refuse(
            f"its input has shape {x.shape} for one example, (channels, {count} more) was expected"
        )


def _max_pool(b: Builder, a: Arguments, count: int) -> Act | tuple[Act | None, ...]:
    """Max pooling over the last `count` axes, one axis after the other."""
    walled = a["self"]
    x = walled.inner if isinstance(walled, Walled) else act(b, walled)
    _spatial(b, x, count)
    wall = [0] * count
    if isinstance(walled, Walled):
        before = [*walled.amounts[::2], *[0] * count]
        if any(walled.amounts[2 * count :]):
            raise b.refuse("pads channels with minus infinity")
        wall = before[:count][::-1]

    def each(value: Any) -> list[int]:
        items = [value] if isinstance(value, int) else list(value)
        return items * count if len(items) == 1 else items

    kernel, padding, dilation = each(a["kernel_size"]), each(a["padding"]), each(a["dilation"])
    stride = each(a["stride"]) if a["stride"] else kernel
    wall = [own + given for own, given in zip(padding, wall, strict=True)]
    if isinstance(b.nodes[x.node].op, Relu):  # nothing is below 0 there, so zeros are as good a wall
        amounts = []
        for i in reversed(range(count)):
            reach = (a["result"][2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
            amounts += [wall[i], max(0, reach - wall[i] - x.shape[1 + i])]
        x, wall = b.pad(x, tuple(amounts)), [0] * count
    for i in range(count):
        length = x.shape[1 + i]

        def place(j: int, k: int, i: int = i, length: int = length) -> int | None:
            found = j * stride[i] - wall[i] + k * dilation[i]
            return found if 0 <= found < length else None

        windows = [[place(j, k) for k in range(kernel[i])] for j in range(a["result"][2 + i])]
        x = _windows(b, x, 2 + i, windows)
    return (x, None) if "with_indices" in b.operator else x


def _adaptive(b: Builder, a: Arguments, count: int) -> tuple[Act | None, ...]:
    x = act(b, a["self"])
    _spatial(b, x, count)
    sizes = list(a["output_size"])
    sizes = sizes * count if len(sizes) == 1 else sizes
    for i, out in enumerate(sizes):
        length = x.shape[1 + i]
        windows: list[list[int | None]] = [
            list(range(j * length // out, -(-(j + 1) * length // out))) for j in range(out)
        ]
        widest = max(len(window) for window in windows)
        x = _windows(b, x, 2 + i, [window + [None] * (widest - len(window)) for window in windows])
    return x, None


def _smooth(b: Builder, a: Arguments, kind: Kind) -> Act:
    return b.smooth(kind, act(b, a["self"]))


def _gelu(b: Builder, a: Arguments) -> Act:
    return b.smooth("gelu_tanh" if a["approximate"] == "tanh" else "gelu", act(b, a["self"]))


def _softplus(b: Builder, a: Arguments) -> Act:
    """softplus(beta x) / beta."""
    if a["threshold"] != THRESHOLD:
        raise b.refuse(f"becomes linear at {a['threshold']}, only the default {THRESHOLD:g} can be bounded")
    beta = float(a["beta"])
    return b.times(b.smooth("softplus", b.times(act(b, a["self"]), beta)), 1 / beta)


def _mul(b: Builder, a: Arguments) -> Act:
    left, right = a["self"], a["other"]
    if isinstance(left, Act) and isinstance(right, Act):
        found = _gated(b, left, right) or _gated(b, right, left)
        if found is None:
            raise b.refuse(
                "multiplies two activations; only x * sigmoid(x) and x * (1 + erf(x / sqrt 2)) can be bounded"
            )
        return found
    x, factor = (left, right) if isinstance(left, Act) else (right, left)
    return b.scale(x, b.constant(factor, x), None)


def _scaled(b: Builder, position: int, shifted: bool = False) -> tuple[float, float, int]:
    """The node as factor * y + shift, through scalings by one number: factor, shift (0 unless allowed), y."""
    factor, shift = 1.0, 0.0
    while isinstance(op := b.nodes[position].op, Scale):
        bias = torch.zeros(()) if op.bias is None else op.bias
        if op.scale.numel() != 1 or bias.numel() != 1 or (float(bias) != 0 and not shifted):
            break
        shift += factor * float(bias)
        factor *= float(op.scale)
        position = b.nodes[position].parents[0]
    return factor, shift, position


def _gated(b: Builder, x: Act, gate: Act) -> Act | None:
    """x times a sigmoid of x, or times 1 + erf(x / sqrt 2), as SiLU or GELU; None for another product.

    With x = u y, gate = f s(v y): u y f sigmoid(v y) = (u f / v) silu(v y), and
    u y f (1 + erf(v y)) = (2 u f / w) gelu(w y) with w = sqrt(2) v.
    """
    outer, shift, position = _scaled(b, gate.node, shifted=True)
    node = b.nodes[position]
    if not isinstance(node.op, Smooth) or x.shape != gate.shape:
        return None
    factor, _, source = _scaled(b, x.node)
    inner, _, inner_source = _scaled(b, node.parents[0])
    if inner_source != source or inner == 0 or b.nodes[source].shape != x.shape:
        return None
    y = Act(source, x.shape)
    if node.op.kind == "sigmoid" and shift == 0:
        return b.times(b.smooth("silu", b.times(y, inner)), factor * outer / inner)
    if node.op.kind == "erf" and shift == outer:
        inner *= 2**0.5
        return b.times(b.smooth("gelu", b.times(y, inner)), 2 * factor * outer / inner)
    return None


POOLS = tuple(f"max_pool{n}d{end}" for n in (1, 2, 3) for end in ("", "_with_indices"))
"""Operators that can take an activation with minus infinity around it."""
NONLINEAR: dict[str, Handler] = {
    "relu": _relu, "clamp": _clamp, "clamp_min": _clamp, "clamp_max": _clamp, "hardtanh": _hardtanh, "relu6": _relu6,
    "hardsigmoid": _hardsigmoid, "threshold": _threshold, "abs": _abs,
    "leaky_relu": _leaky, "prelu": _prelu, "_prelu_kernel": _prelu,
    "maximum": partial(_extreme, largest=True), "max": partial(_extreme, largest=True),
    "minimum": partial(_extreme, largest=False), "min": partial(_extreme, largest=False),
    "amax": partial(_reduced, largest=True), "amin": partial(_reduced, largest=False),
    **{name: partial(_max_pool, count=int(name[8])) for name in POOLS},
    **{f"adaptive_max_pool{n}d": partial(_adaptive, count=n) for n in (1, 2, 3)},
    "sigmoid": partial(_smooth, kind="sigmoid"), "special_expit": partial(_smooth, kind="sigmoid"),
    "tanh": partial(_smooth, kind="tanh"), "erf": partial(_smooth, kind="erf"),
    "silu": partial(_smooth, kind="silu"), "gelu": _gelu, "softplus": _softplus, "mul": _mul,
}  # fmt: skip
