"""The corpus's networks read a second time, without the library: as short programs over flat vectors.

An affine layer is a dense matrix made by loops of its own; so the truth that bounds are compared with shares
neither the tracing, nor the operators, nor the arithmetic of what is tested.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import mpmath
import numpy as np
from torch import Tensor, nn

from soundness.networks import Concat, Normalise, Residual, Same

mpmath.mp.prec = 240  # bits: rounding far below what float64 can tell apart


@dataclass(frozen=True, eq=False)
class Matrix:
    """matrix @ x + bias."""

    matrix: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Act:
    """A function, element by element: relu, leaky (slope), sigmoid, tanh, gelu."""

    kind: str
    slope: float = 0.0


@dataclass(frozen=True, eq=False)
class Largest:
    """Maxima of groups of entries: positions (out, m), -1 where a group is shorter."""

    groups: np.ndarray


@dataclass(frozen=True, eq=False)
class Fork:
    """Two programs on one value, their results added or put one after the other."""

    first: tuple
    second: tuple
    how: str


Program = tuple[Matrix | Act | Largest | Fork, ...]
Shape = tuple[int, ...]


def read(module: nn.Module, shape: Shape) -> tuple[Program, Shape]:
    """The program of a module in eval mode on one example of `shape`, and its result's shape."""
    if isinstance(module, nn.Sequential):
        steps: Program = ()
        for part in module:
            more, shape = read(part, shape)
            steps += more
        return steps, shape
    if isinstance(module, Residual | Concat):
        pair = (Same(), module.body) if isinstance(module, Residual) else (module.first, module.second)
        (first, one), (second, other) = (read(part, shape) for part in pair)
        if isinstance(module, Residual):
            return (Fork(first, second, "add"),), one
        return (Fork(first, second, "concat"),), (one[0] + other[0], *one[1:])
    size = int(np.prod(shape))
    if isinstance(module, Same):
        return (), shape
    if isinstance(module, nn.Flatten):
        return (), (size,)
    if isinstance(module, nn.Unflatten):
        return (), tuple(module.unflattened_size)
    if isinstance(module, Normalise):
        return (_diagonal(np.full(size, 1 / module.std), np.full(size, -module.mean / module.std)),), shape
    if isinstance(module, nn.Linear):
        bias = np.zeros(module.out_features) if module.bias is None else _array(module.bias)
        return (Matrix(_array(module.weight), bias),), (module.out_features,)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = _array(module.weight) / np.sqrt(_array(module.running_var) + module.eps)
        shift = _array(module.bias) - _array(module.running_mean) * scale
        each = size // shape[0]
        return (_diagonal(np.repeat(scale, each), np.repeat(shift, each)),), shape
    if isinstance(module, nn.Conv2d):
        return _convolution(module, shape)
    if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
        return _pool(module, shape)
    if isinstance(module, nn.LeakyReLU):
        return (Act("leaky", module.negative_slope),), shape
    names = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.GELU: "gelu"}
    return (Act(names[type(module)]),), shape


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().numpy().astype(np.float64)


def _diagonal(scale: np.ndarray, shift: np.ndarray) -> Matrix:
    return Matrix(np.diag(scale), shift)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _windows(size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape):
    """Per output place, (place, [(kernel place, input place) inside the image])."""
    out = [(size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    places = []
    for at in itertools.product(*map(range, out)):
        seen = []
        for k in itertools.product(*map(range, kernel)):
            y, x = (at[a] * stride[a] - padding[a] + k[a] * dilation[a] for a in (0, 1))
            if 0 <= y < size[0] and 0 <= x < size[1]:
                seen.append((k, (y, x)))
        places.append((at, seen))
    return out, places


def _convolution(module: nn.Conv2d, shape: Shape) -> tuple[Program, Shape]:
    channels, height, width = shape
    assert isinstance(module.padding, tuple)
    out, places = _windows(
        (height, width), module.kernel_size, module.stride, module.padding, module.dilation
    )
    weight = _array(module.weight)
    matrix = np.zeros((module.out_channels, *out, channels, height, width))
    group, members = module.out_channels // module.groups, channels // module.groups
    for o, ((r, c), seen), i in itertools.product(range(module.out_channels), places, range(members)):
        for (ky, kx), (y, x) in seen:
            matrix[o, r, c, (o // group) * members + i, y, x] += weight[o, i, ky, kx]
    bias = np.zeros(module.out_channels) if module.bias is None else _array(module.bias)
    total = int(np.prod((module.out_channels, *out)))
    flat = matrix.reshape(total, channels * height * width)
    return (Matrix(flat, np.repeat(bias, out[0] * out[1])),), (module.out_channels, *out)


def _pool(module: nn.AvgPool2d | nn.MaxPool2d, shape: Shape) -> tuple[Program, Shape]:
    """Average pooling without padding; maximum pooling with any."""
    channels, height, width = shape
    kernel, stride, padding = (_pair(v) for v in (module.kernel_size, module.stride, module.padding))
    out, places = _windows((height, width), kernel, stride, padding, (1, 1))
    groups = np.full((channels, len(places), kernel[0] * kernel[1]), -1)
    for channel, (p, (_, seen)) in itertools.product(range(channels), enumerate(places)):
        for m, (_, (y, x)) in enumerate(seen):
            groups[channel, p, m] = (channel * height + y) * width + x
    groups = groups.reshape(-1, groups.shape[-1])
    after = (channels, *out)
    if isinstance(module, nn.MaxPool2d):
        return (Largest(groups),), after
    matrix = np.zeros((len(groups), channels * height * width))
    np.put_along_axis(matrix, groups, 1 / groups.shape[1], axis=1)
    return (Matrix(matrix, np.zeros(len(groups))),), after


def exact(program: Program, x: list) -> list:
    """The program on numbers of mpmath."""
    for step in program:
        if isinstance(step, Matrix):
            rows = [
                mpmath.fdot((mpmath.mpf(float(row[j])), x[j]) for j in row.nonzero()[0])
                for row in step.matrix
            ]
            x = [value + mpmath.mpf(float(shift)) for value, shift in zip(rows, step.bias, strict=True)]
        elif isinstance(step, Act):
            x = [_exact_act(step, value) for value in x]
        elif isinstance(step, Largest):
            x = [max(x[i] for i in group if i >= 0) for group in step.groups]
        else:
            first, second = exact(step.first, x), exact(step.second, x)
            x = [a + b for a, b in zip(first, second, strict=True)] if step.how == "add" else first + second
    return x


def _exact_act(act: Act, x):
    if act.kind == "relu":
        return max(x, mpmath.mpf(0))
    if act.kind == "leaky":
        return x if x > 0 else mpmath.mpf(act.slope) * x
    if act.kind == "sigmoid":
        return 1 / (1 + mpmath.exp(-x))
    if act.kind == "tanh":
        return mpmath.tanh(x)
    return x * mpmath.ncdf(x)


def exact_gap(teacher: Program, student: Program, x: np.ndarray):
    """max_k |p_t,k - p_s,k| at a float64 point, in mpmath."""
    point = [mpmath.mpf(float(value)) for value in x.reshape(-1)]
    sides = []
    for program in (teacher, student):
        logits = exact(program, point)
        top = max(logits)
        powers = [mpmath.exp(value - top) for value in logits]
        total = mpmath.fsum(powers)
        sides.append([power / total for power in powers])
    return max(abs(a - b) for a, b in zip(*sides, strict=True))
