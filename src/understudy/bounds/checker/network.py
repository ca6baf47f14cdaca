"""A network of a certificate over a box: what its nodes compute, and bounds of linear functions of them.

Every step is widened by its rounding error: carried back through a node, a linear function is off by at most
gamma |coefficients| . reach, where reach is the sum of absolute products behind each of the node's values.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[[Array], Array]
Lines = list[tuple[Array, ...]]  # a ReLU layer each: slope and intercept of the line above, slope below
U, TINY = 2.0**-53, 1e-150  # unit roundoff; more than all underflow together
ROWS = 2**20  # numbers carried back at once


KNOWN = {  # operations, and the arrays they may have
    "input": (), "relu": (), "reshape": (), "gather": ("index",), "scatter": ("index",), "add": ("coefficients",),
    "scale": ("scale", "bias"), "linear": ("weight", "bias"), "conv2d": ("weight", "bias"),
}  # fmt: skip


class Refused(Exception):
    """The certificate does not prove its claim; the message says where it fails."""


def need(holds: Any, message: str) -> None:
    """Refuse with the message, unless it holds."""
    if not holds:
        raise Refused(message)


def gather(index: Array, count: int) -> tuple[Step, Step]:
    """y[i] = x[index[i]] of `count` numbers, 0 where the index is -1; and its adjoint."""
    flat = index.ravel()
    need((flat >= -1).all() and (flat < count).all(), "an index lies outside")
    order = np.argsort(flat, kind="stable")[(flat < 0).sum() :]
    sources, starts = np.unique(flat[order], return_index=True)

    def adjoint(rows: Array) -> Array:
        out = np.zeros((len(rows), count))
        out[:, sources] = np.add.reduceat(rows[:, order], starts, axis=1)
        return out

    return lambda x: np.pad(x, ((0, 0), (0, 1)))[:, flat], adjoint


def operation(node: Any, before: list[int], a: dict[str, Array]) -> tuple[Step, Step]:
    """The linear part of a node and its adjoint, on rows (m, numbers), several parents' side by side."""
    op, s, after, count = node["op"], node["settings"], node["shape"], math.prod(before)
    if op == "reshape":
        return lambda x: x, lambda r: r
    if op == "gather":
        return gather(a["index"], count)
    if op == "scatter":
        return gather(a["index"], math.prod(after))[::-1]
    if op == "scale":
        scale = np.broadcast_to(a["scale"], after).ravel()
        return lambda x: x * scale, lambda r: r * scale
    if op == "add":
        factors = a["coefficients"][:, None]
        return lambda x: (x.reshape(len(x), len(factors), -1) * factors).sum(
            1
        ), lambda r: r[:, None] * factors
    w = a["weight"]
    if op == "linear":
        return lambda x: x.reshape(-1, before[-1]) @ w.T, lambda r: r.reshape(-1, after[-1]) @ w
    (sy, sx), (py, px), (dy, dx), g = s["stride"], s["padding"], s["dilation"], s["groups"]
    span, where = (dy * (w.shape[2] - 1) + 1, dx * (w.shape[3] - 1) + 1), np.arange(count).reshape(before)
    where = np.pad(where, ((0, 0), (py, py), (px, px)), constant_values=-1)
    where = np.lib.stride_tricks.sliding_window_view(where, span, (1, 2))[:, ::sy, ::sx, ::dy, ::dx]
    need([len(w), *where.shape[1:3]] == after and min(sy, sx) > 0, "a convolution does not fit")
    where = where.reshape(g, before[0] // g, math.prod(after[1:]), -1).swapaxes(1, 2)
    kernels, (spread, total) = w.reshape(g, len(w) // g, -1), gather(where, count)
    patches = (-1, *where.shape[:2], kernels.shape[2])

    def forward(x: Array) -> Array:
        return kernels @ spread(x).reshape(patches).swapaxes(2, 3)

    def adjoint(rows: Array) -> Array:
        rows = rows.reshape(-1, g, len(w) // g, math.prod(after[1:])).swapaxes(2, 3)
        return total((rows @ kernels).reshape(len(rows), -1))

    return forward, adjoint


def relaxed(up: Array, neg: Array, slope: Array | None = None) -> tuple[Array, ...]:
    """Lines around max(z, 0) for -neg <= z <= up, exact where the sign is known; area rule without slopes."""
    opened, on = (neg > 0) & (up > 0), np.where(neg <= 0, 1.0, 0.0)
    above = np.where(opened, up / np.where(opened, up + neg, 1.0), on)
    lift = np.where(opened, np.maximum(above * neg, up - above * up) + 8 * U * up + TINY, 0.0)
    below = np.where(opened, np.where(up > neg, 1.0, 0.0) if slope is None else slope, on)
    return tuple(np.broadcast_arrays(above, lift, below))


class Net:
    """One network over the box: operations, every node's interval, and what rounding is measured by."""

    def __init__(self, name: str, part: Any, arrays: dict[str, Array], low: Array, high: Array) -> None:
        self.nodes, self.name, self.base = part["nodes"], name, 0
        self.size = [math.prod(node["shape"]) for node in self.nodes]
        self.relus = [at for at, node in enumerate(self.nodes) if node["op"] == "relu"]
        self.before = [self.nodes[at]["parents"][0] for at in self.relus]
        self.ends = [0, *np.cumsum([self.size[at] for at in self.relus], dtype=int).tolist()]
        self.parts = [slice(*pair) for pair in zip(self.ends[:-1], self.ends[1:], strict=True)]
        self.top = [np.maximum(-low, high)]  # largest magnitudes
        self.middle, radius = low / 2 + high / 2, (high - low) * (0.5 + 4 * U) + 8 * U * self.top[0] + TINY
        self.slack = radius + 8 * U * (len(low) + 16) * (self.top[0] + radius)
        self.intervals, self.reach, self.gamma, self.bias = [(high, -low)], [self.top[0]], [0.0], [low]
        self.start: list[tuple[Array, Array]] = []  # of the ReLUs' arguments: upper bounds of z, of -z
        self.adjoint: list[Step | None] = [None]
        digest = hashlib.sha256(json.dumps(self.nodes, sort_keys=True, separators=(",", ":")).encode())
        for at, node in enumerate(self.nodes):
            need(node["op"] in KNOWN, f"{name}.{at}: the operation {node['op']!r} is not known")
            need(set(node["arrays"]) <= set(KNOWN[node["op"]]), f"{name}.{at}: an array it does not have")
            given = {key: arrays.pop(f"{name}.{at}.{key}") for key in sorted(node["arrays"])}
            for key, array in given.items():
                kind, shape = "<i4" if key == "index" else "<f8", node["arrays"][key]
                fits = array.dtype == kind and [*array.shape] == shape and np.isfinite(array).all()
                need(fits, f"{name}.{at}.{key}: not finite, or of another type or shape")
                digest.update(array.tobytes())
            count = {"input": 0, "add": len(given.get("coefficients", ()))}.get(node["op"], 1)
            family = len(node["parents"]) == count and all(0 <= p < at for p in node["parents"])
            need(family and (count == 0) == (at == 0), f"{name}.{at}: not the parents it needs")
            if at:
                self._enter(at, node, given, arrays)
        need(digest.hexdigest() == part["sha256"], f"the {name}'s arrays have another SHA-256 than is said")

    def _enter(self, at: int, node: Any, given: dict[str, Array], arrays: dict[str, Array]) -> None:
        """Bound a node's values by its parents': interval arithmetic, met with CROWN before a ReLU."""
        before, step = [self.nodes[p]["shape"] for p in node["parents"]], None
        up, neg = (
            np.concatenate([self.intervals[p][side] for p in node["parents"]])[None] for side in (0, 1)
        )
        top, bias = np.maximum(up, neg), np.broadcast_to(given.get("bias", 0.0), node["shape"]).ravel()
        self.gamma.append(8 * U * (up.size + self.size[at] + len(self.nodes) + 16))
        if node["op"] == "relu":
            self._root(up, neg, arrays)
            up, neg, reach = np.maximum(up[0], 0), np.minimum(neg[0], 0), 3 * top[0]
        else:
            forward, step = operation(node, before[0], given)
            absolute = {key: array if key == "index" else np.abs(array) for key, array in given.items()}
            wide, _ = operation(node, before[0], absolute)
            centre, reach = forward(up / 2 - neg / 2).ravel() + bias, wide(top).ravel() + np.abs(bias)
            spread = wide(up / 2 + neg / 2).ravel() + self.gamma[at] * reach + TINY
            up, neg = spread + centre, spread - centre
        alike = node["op"] not in ("relu", "add") or all(shape == node["shape"] for shape in before)
        need(alike and len(up) == self.size[at], f"{self.name}.{at}: another shape than it says")
        need((reach < 1e100).all(), f"{self.name}.{at}: numbers beyond 1e100")
        for held, new in ((self.top, np.maximum(up, neg)), (self.reach, reach), (self.bias, bias)):
            held.append(new)
        self.intervals.append((up, neg))
        self.adjoint.append(step)

    def _root(self, up: Array, neg: Array, arrays: dict[str, Array]) -> None:
        """Meet bounds (1, n) of the next ReLU's argument with CROWN's; then with the stored slopes'."""
        ordinal, key = len(self.start), f"roots.{self.name}.{len(self.start)}"
        self.tighten(ordinal, up, neg, [relaxed(*pair) for pair in self.start])
        if f"{key}.rows" in arrays:
            rows, slopes = arrays.pop(f"{key}.rows"), arrays.pop(f"{key}.slopes")
            fits = rows.dtype == "<i4" and slopes.shape == (2 * len(rows), self.ends[ordinal])
            need(
                fits and ((slopes >= 0) & (slopes <= 1)).all(),
                f"{key}: slopes outside [0, 1], or not fitting",
            )
            own = [relaxed(*pair, slopes[:, p]) for pair, p in zip(self.start, self.parts, strict=False)]
            for sign, side, who in ((1.0, up, 0), (-1.0, neg, len(rows))):
                found = self.tops(self.before[ordinal], np.arange(len(rows)) + who, own, rows, None, sign)
                side[0, rows] = np.minimum(side[0, rows], found)
        self.start.append((up, neg))

    def lines(self, states: Array, slopes: Array | None = None) -> Lines:
        """Every ReLU's lines at tree nodes (b, state)."""
        up, neg = np.split(states[:, self.base : self.base + 2 * self.ends[-1]], 2, axis=1)
        return [relaxed(up[:, p], neg[:, p], None if slopes is None else slopes[:, p]) for p in self.parts]

    def back(self, at: int, rows: Array, who: Array, lines: Lines, extra: Any = None) -> tuple[Array, Array]:
        """Upper bounds of rows (m, n) on node `at`: coefficients on the input, constants with the rounding.

        Row i goes through the lines of `who[i]`; `extra` (m, ReLUs) is added before the ReLUs.
        """
        pending, constant = {at: rows}, np.full(len(rows), TINY)
        for position in range(at, 0, -1):
            if position not in pending:
                continue
            a, parents, step = pending.pop(position), self.nodes[position]["parents"], self.adjoint[position]
            constant += self.gamma[position] * (np.abs(a) @ self.reach[position])
            if step is None:
                ordinal = self.relus.index(position)
                above, lift, below = (part[who] for part in lines[ordinal])
                plus = np.maximum(a, 0)
                constant += np.einsum("ij,ij->i", plus, lift)
                pushed = [(parents[0], plus * above + (a - plus) * below)]
                if extra is not None:
                    pushed.append((parents[0], extra[:, self.parts[ordinal]]))
            else:
                constant += a @ self.bias[position]
                cuts = np.cumsum([self.size[p] for p in parents])
                pieces = np.split(step(a).reshape(len(a), cuts[-1]), cuts[:-1], axis=1)
                pushed = list(zip(parents, pieces, strict=True))
            for parent, piece in pushed:
                if parent in pending:
                    piece = piece + pending[parent]
                    constant += 4 * U * (np.abs(piece) @ self.top[parent])
                pending[parent] = piece
        return pending.get(0, np.zeros((len(rows), self.size[0]))), constant

    def maximum(self, a: Array, constant: Array) -> Array:
        """Upper bounds of a . x + constant over the box."""
        found: Array = a @ self.middle + np.abs(a) @ self.slack + constant
        need(np.isfinite(found).all(), "a bound is NaN or infinite")
        return found

    def tops(self, at: int, who: Array, lines: Lines, plus: Array, minus: Any, sign: float = 1.0) -> Array:
        """Upper bounds of sign (z_plus - z_minus) on node `at`, or of sign z_plus without `minus`."""
        found, step = np.empty(len(who)), max(1, ROWS // max(self.size))
        for part in (slice(i, i + step) for i in range(0, len(who), step)):
            rows, each = np.zeros((len(who[part]), self.size[at])), np.arange(len(who[part]))
            rows[each, plus[part]] = sign
            if minus is not None:
                rows[each, minus[part]] = -sign
            found[part] = self.maximum(*self.back(at, rows, who[part], lines))
        return found

    def tighten(self, ordinal: int, up: Array, neg: Array, lines: Lines) -> None:
        """Meet bounds (b, n) of a ReLU's argument with CROWN's, where the sign is open."""
        who, which = np.nonzero(~(up <= 0) & ~(neg <= 0))
        for sign, side in ((1.0, up), (-1.0, neg)):
            found = self.tops(self.before[ordinal], who, lines, which, None, sign)
            side[who, which] = np.minimum(side[who, which], found)
