"""Two-sided enclosures of D for networks on one to three inputs, by cutting the box into cells.

On each cell both networks are run on intervals, forward, with an interval of the Jacobian beside each value
(for a function with kinks: of its generalised gradients, for which the mean value theorem holds as well). So
|f(x) - f(c)| <= sum_i max |df/dx_i| r_i gives every cell an upper bound, its middle a lower one, and only the
cells that can still hold the maximum are cut again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from soundness.reference import Act, Fork, Largest, Matrix, Program

ROUNDING = 1e-12  # relative; generous for sums of a few hundred products


@dataclass(frozen=True, eq=False)
class Enclosure:
    """lower <= D <= upper, and the point (n,) that attains `lower` (up to float64's rounding)."""

    lower: float
    upper: float
    witness: np.ndarray
    cells: int


@dataclass(eq=False)
class State:
    """Per cell (N): the value at its middle (N, m), its interval, and its Jacobian's (N, m, n)."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    d_low: np.ndarray
    d_high: np.ndarray


def enclose(
    teacher: Program,
    student: Program,
    low: np.ndarray,
    high: np.ndarray,
    *,
    tolerance: float = 1e-4,
    cells: int = 40_000,
) -> Enclosure:
    """D over the box [low, high] (n,), until the two sides meet within the tolerance or the cells run out."""
    centers, radii = ((low + high) / 2)[None], ((high - low) / 2)[None]
    best, witness, closed, used = -1.0, centers[0], 0.0, 0
    uppers = np.array([np.inf])
    while len(centers):
        order = np.argsort(-uppers)[:2048]
        batch, rest = order, np.setdiff1d(np.arange(len(uppers)), order)
        c, r = centers[batch], radii[batch]
        at_middle, above, slope = _bound(teacher, student, c, r)
        used += len(c)
        top = int(at_middle.argmax())
        if at_middle[top] > best:
            best, witness = float(at_middle[top]), c[top]
        above = np.minimum(above, uppers[batch])
        keep = above > best + tolerance
        closed = max(closed, float(above[~keep].max(initial=0.0)))
        c, r, above, slope = c[keep], r[keep], above[keep], slope[keep]
        centers, radii, uppers = centers[rest], radii[rest], uppers[rest]
        if used > cells:
            closed = max([closed, *above, *uppers])
            break
        each, axis = np.arange(len(c)), (slope * r + 1e-6 * r).argmax(1)
        r = r.copy()
        r[each, axis] /= 2
        for sign in (-1, 1):
            half = c.copy()
            half[each, axis] += sign * r[each, axis]
            centers, radii = np.concatenate([centers, half]), np.concatenate([radii, r])
            uppers = np.concatenate([uppers, above])
    return Enclosure(best, max(best, closed), witness, used)


def _bound(teacher: Program, student: Program, c: np.ndarray, r: np.ndarray):
    """Per cell: the gap at its middle, an upper bound of the gap, the largest slopes per input (N, n)."""
    values, tops, slopes = [], [], []
    for program in (teacher, student):
        n = c.shape[1]
        start = np.broadcast_to(np.eye(n), (len(c), n, n))
        r_out = r * (1 + 1e-12) + 1e-300
        state = _run(program, State(c, c - r_out, c + r_out, start, start), r_out)
        values.append(_softmax(state.middle))
        tops.append(_softmax_range(state.low, state.high))
        slopes.append(_softmax_slopes(*tops[-1], state.d_low, state.d_high))
    at_middle = np.abs(values[0] - values[1])
    d_low, d_high = slopes[0][0] - slopes[1][1], slopes[0][1] - slopes[1][0]
    steep = np.maximum(np.abs(d_low), np.abs(d_high))  # (N, k, n)
    mean = at_middle + (steep * r[:, None]).sum(2)
    ends = np.maximum(tops[0][1] - tops[1][0], tops[1][1] - tops[0][0])
    above = np.minimum(mean, ends)
    above = np.where(np.isnan(above), 1.0, above) + 1e-11
    which = above.argmax(1)
    return at_middle.max(1), above.max(1).clip(max=1.0), steep[np.arange(len(c)), which]


def _run(program: Program, state: State, r: np.ndarray) -> State:
    for step in program:
        if isinstance(step, Fork):
            first, second = _run(step.first, state, r), _run(step.second, state, r)
            pairs = [(getattr(first, name), getattr(second, name)) for name in vars(first)]
            if step.how == "add":
                state = State(*(a + b for a, b in pairs))
            else:
                state = State(*(np.concatenate(pair, 1) for pair in pairs))
        else:
            state = {Matrix: _matrix, Act: _act, Largest: _largest}[type(step)](step, state)
        reach = (np.maximum(np.abs(state.d_low), np.abs(state.d_high)) * r[:, None]).sum(2)
        reach = reach + ROUNDING * np.abs(state.middle)
        state.low = np.maximum(state.low, state.middle - reach)
        state.high = np.minimum(state.high, state.middle + reach)
    return state


def _matrix(step: Matrix, s: State) -> State:
    up, down = step.matrix.clip(min=0), step.matrix.clip(max=0)
    magnitude = np.maximum(np.abs(s.low), np.abs(s.high)) @ np.abs(step.matrix).T + np.abs(step.bias)
    error = ROUNDING * magnitude
    d_magnitude = np.einsum("ij,njk->nik", np.abs(step.matrix), np.maximum(np.abs(s.d_low), np.abs(s.d_high)))

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("ij,njk->nik", a, b)

    return State(
        s.middle @ step.matrix.T + step.bias,
        s.low @ up.T + s.high @ down.T + step.bias - error,
        s.high @ up.T + s.low @ down.T + step.bias + error,
        product(up, s.d_low) + product(down, s.d_high) - ROUNDING * d_magnitude,
        product(up, s.d_high) + product(down, s.d_low) + ROUNDING * d_magnitude,
    )


def _act(act: Act, s: State) -> State:
    value, slope_low, slope_high = _function(act, s.low, s.high)
    ends = value(s.low), value(s.high)
    low, high = np.minimum(*ends), np.maximum(*ends)
    if act.kind == "gelu":  # falls left of -0.7518, rises right of it; its least value is -0.16997
        low = np.where((s.low < -0.75) & (s.high > -0.76), -0.17, low)
    error = ROUNDING * np.maximum(np.abs(low), np.abs(high))
    corners = [d * g[:, :, None] for d in (s.d_low, s.d_high) for g in (slope_low, slope_high)]
    stack = np.stack(corners)
    return State(value(s.middle), low - error, high + error, stack.min(0), stack.max(0))


def _function(act: Act, low: np.ndarray, high: np.ndarray):
    """The function, and the least and largest slope on [low, high]."""
    if act.kind in ("relu", "leaky"):
        below = act.slope
        slopes = np.where(low > 0, 1.0, below), np.where(high < 0, below, 1.0)
        return lambda x: np.where(x > 0, x, below * x), *slopes
    inside = np.clip(0.0, low, high)  # the place nearest to 0, where both slopes are largest
    if act.kind == "sigmoid":
        rise, value = lambda x: _sigmoid(x) * _sigmoid(-x), _sigmoid
    elif act.kind == "tanh":
        rise, value = lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2, np.tanh
    else:
        density = lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi)  # noqa: E731
        rise = lambda x: ndtr(x) + x * density(x)  # noqa: E731
        turns = [np.clip(t, low, high) for t in (-(2**0.5), 2**0.5)]  # where the slope has its extremes
        found = np.stack([rise(x) for x in (low, high, *turns)])
        return lambda x: x * ndtr(x), found.min(0) - 1e-12, found.max(0) + 1e-12
    return value, np.minimum(rise(low), rise(high)) * (1 - 1e-9), rise(inside) * (1 + 1e-9)


def _largest(step: Largest, s: State) -> State:
    """A maximum's generalised gradients are combinations of those of the entries that can attain it."""

    def gathered(values: np.ndarray, missing: float) -> np.ndarray:
        taken = values[:, step.groups]
        hole = (step.groups < 0).reshape(1, *step.groups.shape, *[1] * (values.ndim - 2))
        return np.where(hole, missing, taken)

    low, high = gathered(s.low, -np.inf), gathered(s.high, -np.inf)
    floor = low.max(2)
    can = (high >= floor[:, :, None])[..., None]
    d_low = np.where(can, gathered(s.d_low, np.inf), np.inf).min(2)
    d_high = np.where(can, gathered(s.d_high, -np.inf), -np.inf).max(2)
    return State(gathered(s.middle, -np.inf).max(2), floor, high.max(2), d_low, d_high)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _softmax_range(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with every logit free in its interval."""
    rival = ~np.eye(low.shape[1], dtype=bool)
    with np.errstate(over="ignore"):
        least = np.exp(low[:, :, None] - high[:, None, :]).sum(1, where=rival)
        most = np.exp(high[:, :, None] - low[:, None, :]).sum(1, where=rival)
    return (1 - 1e-10) / (1 + most), np.minimum((1 + 1e-10) / (1 + least), 1.0)


def _softmax_slopes(p_low: np.ndarray, p_high: np.ndarray, d_low: np.ndarray, d_high: np.ndarray):
    """dp_k/dx = p_k (J_k - sum_j p_j J_j), in intervals (N, k, n)."""
    ends = [p[:, :, None] * d for p in (p_low, p_high) for d in (d_low, d_high)]
    stack = np.stack(ends)
    least, most = stack.min(0).sum(1, keepdims=True), stack.max(0).sum(1, keepdims=True)
    low, high = d_low - most, d_high - least
    products = np.stack([p[:, :, None] * d for p in (p_low, p_high) for d in (low, high)])
    error = 1e-12 * np.abs(products).max(0)
    return products.min(0) - error, products.max(0) + error
