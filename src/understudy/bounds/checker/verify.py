"""Check a certificate in float64, every step widened by its rounding error. Needs numpy and nothing else.

What is checked, and why it is sound: docs/certificate-format.md. exp and log are trusted to 8 ulps.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from understudy.bounds.checker.network import Array, Net, Refused, U, need, relaxed

NODES, VERTICES = 64, 11  # tree nodes taken at once; differences of logits with all vertices tried
NETS = ("teacher", "student")
ARRAYS = """queries.label i4 q, queries.sign i1 q, tree.parent i4 n, tree.query i4 n, tree.kind u1 n,
tree.layer i4 n, tree.index i4 n, tree.other i4 n, tree.cut f8 n, tree.side i1 n, tree.rebound u1 n,
tree.reference i4 n, tree.leaf i4 n, leaves.w f4 m rivals, leaves.rival i4 m, leaves.v f4 m classes,
leaves.q_raised f4 m, leaves.q_lowered f4 m, leaves.teacher_slopes f2 m teacher,
leaves.student_slopes f2 m student, leaves.beta_offsets i8 ends, leaves.beta f4 p"""


class Unreadable(Exception):
    """Not the file of a certificate."""


@dataclass(frozen=True)
class Verified:
    """What was proved of the certificate with this header: D <= bound."""

    bound: float
    header: dict[str, Any]
    nodes: int
    leaves: int


def closed(m: Array) -> Array:
    """M[i, j] <= M[i, k] + M[k, j] for all k, rounded up."""
    for k in range(m.shape[1]):
        m = np.minimum(m, np.nextafter(m[:, :, k, None] + m[:, None, k, :], np.inf))
    return m


def sigmoid(x: Array) -> Array:
    """At least 1 / (1 + e^-x)."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small) + 16 * U


def sigmoid_above(q: Array, low: Array, high: Array) -> Array:
    """At least the maximum of sigmoid(x) - q x on [low, high]: at an end, or where the slope is q."""
    root = np.sqrt(np.maximum(1 - 4 * q, 0))
    turn = np.log((1 + root) ** 2 / np.where(q > 0, 4 * q, 1.0))
    x = np.stack([low, high, np.where((q > 0) & (q < 0.25), np.clip(turn, low, high), high)])
    return np.max(sigmoid(x) - q * x, axis=0) + 16 * U * (1 + q * np.abs(x).max(0))


def least(target: float, other: Array) -> Array:
    """Below it, with the other sigmoid's argument at most `other`, the two sigmoids' sum is at most 1 + target."""
    share = target + 1 - sigmoid(other) - 8 * U
    inner = np.log(np.clip(share, 1e-300, 1)) - np.log1p(-np.clip(share, 0, 1 - 4 * U))
    return np.where(share > 0, inner - 1e-9, -np.inf)


def log_sum_exp(x: Array) -> tuple[Array, Array]:
    """Bounds of log sum exp over the last axis, from below and from above."""
    top = x.max(-1)
    value = top + np.log(np.exp(x - top[..., None]).sum(-1))
    error = (10 * x.shape[-1] + 32) * U * (1 + np.abs(x).max(-1))
    return value - error, value + error


def rivals_above(low: Array, high: Array, v: Array) -> Array:
    """At least the maximum of log(1 + sum exp d) - v . d over boxes (b, n): it is convex, so at a vertex.

    Of many d all but those with the highest upper ends count with e^high and the larger end of -v d.
    """
    shift, far = np.maximum(high.max(1, initial=0), 0)[:, None], np.maximum(np.abs(low), np.abs(high))
    total, dot, order = np.exp(np.maximum(-shift, -600)), np.zeros_like(shift), np.argsort(-high, axis=1)
    low, high, v = (np.take_along_axis(part, order, 1) for part in (low, high, v))
    for j in range(low.shape[1]):
        ends = np.stack([low[:, j], high[:, j]], 1)
        each, paid = np.exp(np.maximum(ends - shift, -600)), v[:, j, None] * ends
        if j >= VERTICES:
            each, paid = each[:, 1:], paid.min(1, keepdims=True)
        total = (total[:, :, None] + each[:, None]).reshape(len(low), -1)
        dot = (dot[:, :, None] + paid[:, None]).reshape(len(low), -1)
    error = 1 + shift[:, 0] + far.max(1, initial=0) + (np.abs(v) * far).max(1, initial=0) * low.shape[1]
    return (shift + np.log(total) - dot).max(1) + (10 * low.shape[1] + 84) * U * error


class Search:
    """The trees of one certificate; takes everything out of `arrays`.

    The state of a tree node is one row of upper bounds: of z and of -z for all ReLUs' arguments, the teacher's,
    then the student's; M[i, j] >= z_i - z_j of the lowered net; of t, -t, r, -r, where t is the raised net's
    log-odds and r minus the lowered net's.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.header = header = json.loads(arrays.pop("header").tobytes())
        kind = (header["format"], header["version"], header["checkable"])
        need(kind[:2] == ("understudy-certificate", 1), f"another format or version: {kind[:2]}")
        need(kind[2] is True, f"it says of itself that it cannot be checked: {header.get('reason')}")
        self.target = header["upper"] if header["shortened"] else None
        need(self.target is None or 0 <= self.target <= 1, "upper: no difference of confidences")
        x, eps, size = arrays.pop("input"), header["eps"], header["classes"]
        low, high = (header[name] for name in ("low", "high"))
        low, high = -np.inf if low is None else low, np.inf if high is None else high
        need(x.dtype == "<f8" and (np.abs(x) < 1e100).all() and 0 <= eps < 1e100, "input, eps: not finite")
        need((x >= low).all() and (x <= high).all(), "the input lies outside the valid range")
        box = np.maximum(np.nextafter(x - eps, -np.inf), low), np.minimum(np.nextafter(x + eps, np.inf), high)
        ball = [side.ravel() for side in box]
        self.nets = [Net(name, header["networks"][name], arrays, *ball) for name in NETS]
        shapes = [(net.nodes[0]["shape"], net.nodes[-1]["shape"]) for net in self.nets]
        need(size >= 2 and shapes == [([*x.shape], [size])] * 2, "the networks do not fit input and classes")
        dims = {net.name: net.ends[-1] for net in self.nets} | {"rivals": size - 1, "classes": size}
        self.t = t = SimpleNamespace()
        for name, code, *shape in (line.split() for line in ARRAYS.split(",")):
            array = arrays.pop(name)
            fits: Any = array.dtype == f"<{code}" and array.ndim == len(shape) and np.isfinite(array).all()
            fits = fits and all(dims.setdefault(d, n) == n for d, n in zip(shape, array.shape, strict=True))
            need(fits, f"{name}: not finite, or of another type or shape")
            need(name == "leaves.v" or "leaves" not in name or (array >= 0).all(), f"{name}: below 0")
            setattr(t, name.split(".")[1], array)
        need(not arrays, f"arrays that do not belong there: {sorted(arrays)}")
        self.size, self.rivals = size, np.nonzero(~np.eye(size, dtype=bool))[1].reshape(size, -1)
        self.nets[1].base = 2 * dims["teacher"]
        self.square = self.nets[1].base + 2 * dims["student"]
        self.odds = self.square + size**2
        self._cover(t)
        self.margins = []
        for net in self.nets:
            who, one, two = np.zeros(size * (size - 1), int), *np.nonzero(~np.eye(size, dtype=bool))
            m, lines = np.zeros((1, size, size)), [relaxed(*pair) for pair in net.start]
            m[0, one, two] = net.tops(len(net.nodes) - 1, who, lines, one, two)
            self.margins.append(closed(m))

    def _cover(self, t: Any) -> None:
        """Every query's leaves cover the ball, the parameters are in range; where and to what a split cuts."""
        below, roots, ids = (
            np.flatnonzero(t.parent >= 0),
            np.flatnonzero(t.parent < 0),
            np.arange(len(t.parent)),
        )
        above, asked = t.parent[below], sorted(zip(t.label.tolist(), t.sign.tolist(), strict=True))
        need((t.parent < ids).all() and (t.parent[roots] == -1).all(), "tree.parent: a parent comes later")
        need(
            asked == [(k, s) for k in range(self.size) for s in (-1, 1)], "queries: not all classes and signs"
        )
        need(sorted(t.query[roots]) == [*range(len(asked))], "tree.query: not one root for every query")
        need((t.query[below] == t.query[above]).all(), "tree.query: a child of another query")
        need(np.isin(np.bincount(above, minlength=len(ids)), (0, 2)).all(), "tree.parent: not two children")
        pairs = below[np.argsort(above, kind="stable")].reshape(-1, 2)
        self.children = dict(zip(t.parent[pairs[:, 0]].tolist(), pairs.tolist(), strict=True))
        for name in ("kind", "layer", "index", "other", "cut"):
            part = getattr(t, name)[pairs]
            need((part[:, 0] == part[:, 1]).all(), f"tree.{name}: two children are cut differently")
        opposite = (np.abs(t.side[below]) == 1).all() and (t.side[pairs].sum(1) == 0).all()
        need(opposite and (t.side[roots] == 0).all(), "tree.side: not one child on each side of a cut")
        kinds = (t.kind[roots] == 0).all() and (t.kind[below] > 0).all() and (t.kind <= 5).all()
        need(kinds and (t.rebound <= 7).all(), "tree.kind, tree.rebound: not known")
        self.place, self.value = np.zeros(len(ids), int), np.where(t.kind > 0, -t.side * t.cut, np.inf)
        for kind, net in enumerate(self.nets, start=1):
            here = np.flatnonzero(t.kind == kind)
            layer, index = t.layer[here], t.index[here]
            need(((layer >= 0) & (layer < len(net.relus))).all(), "tree.layer: no such ReLU")
            need(((index >= 0) & (index < np.diff(net.ends)[layer])).all(), "tree.index: no such neuron")
            need((t.cut[here] == 0).all(), "tree.cut: a ReLU is cut elsewhere than at 0")
            half = np.where(t.side[here] > 0, net.ends[-1], 0)
            self.place[here] = net.base + half + np.array(net.ends)[layer] + index
        here, ref = np.flatnonzero(t.kind == 3), t.reference[t.rebound & 4 > 0]
        one, two = t.index[here], t.other[here]
        i, j = (np.where(t.side[here] < 0, *pair) for pair in ((one, two), (two, one)))
        for part, name in ((i, "index"), (j, "other"), (ref, "reference")):
            need(((part >= 0) & (part < self.size)).all(), f"tree.{name}: no such class")
        self.place[here] = self.square + i * self.size + j
        here = np.flatnonzero(t.kind > 3)
        self.place[here] = self.odds + 2 * (t.kind[here].astype(int) - 4) + (t.side[here] > 0)
        used, depth, length = np.flatnonzero(t.leaf >= 0), np.zeros(len(ids), int), np.zeros(len(t.w), int)
        one = (
            sorted(t.leaf[used]) == [*range(len(t.w))]
            and (t.leaf >= -1).all()
            and (t.leaf[above] == -1).all()
        )
        need(one, "tree.leaf: not one leaf for every row of parameters")
        for node in below.tolist():
            depth[node] = depth[t.parent[node]] + 1
        length[t.leaf[used]] = depth[used]
        fits = np.array_equal(t.beta_offsets, [0, *np.cumsum(length)]) and len(t.beta) == length.sum()
        need(fits, "leaves.beta: not one for every node of a leaf's path")
        need((t.w.sum(1) > 0).all(), "leaves.w: the weights' sum is 0")
        need((t.teacher_slopes <= 1).all() and (t.student_slopes <= 1).all(), "leaves: slopes above 1")
        rival = (t.rival < self.size).all() and (t.rival[t.leaf[used]] != t.label[t.query[used]]).all()
        need(rival, "leaves.rival: not a rival of the class")

    def bound(self) -> float:
        """The largest of all leaves' bounds: D is at most that."""
        t, self.found = self.t, np.full(len(self.t.parent), -1.0)  # of leaves that may hold a point
        stack: list[tuple[int, Any]] = [(node, None) for node in np.flatnonzero(t.parent < 0).tolist()]
        while stack:
            taken = stack[-NODES:]
            del stack[-NODES:]
            ids = np.array([node for node, _ in taken])
            states = np.stack([self._root(node) if state is None else state for node, state in taken])
            alive = self._grow(ids, states)
            ends = alive & np.array([node not in self.children for node, _ in taken])
            self.found[ids[ends]] = sigmoid(states[ends, -4]) + sigmoid(states[ends, -2]) - 1 + 16 * U
            for sign in (1, -1):
                at = ends & (t.leaf[ids] >= 0) & (t.sign[t.query[ids]] == sign)
                if at.any():
                    self.found[ids[at]] = self._leaves(ids[at], states[at], sign)
            for row in np.flatnonzero(alive & ~ends):
                state = states[row].copy()
                stack += [(child, state) for child in self.children[taken[row][0]]]
        return max(self.target or 0.0, float(self.found.max()))

    def _root(self, node: int) -> Array:
        k, side = self.t.label[self.t.query[node]], 1 if self.t.sign[self.t.query[node]] > 0 else 0
        raised, lowered = self.margins[1 - side], self.margins[side]
        parts = [pair[i][0] for net in self.nets for i in (0, 1) for pair in net.start]
        t, r = (self._odds(m, np.array([k])) for m in (raised, lowered))
        return np.concatenate([*parts, lowered.ravel(), t[1], t[0], r[0], r[1]])

    def _odds(self, m: Array, k: Array) -> tuple[Array, Array]:
        """Upper bounds of log sum exp (z_j - z_k) over the rivals j, and of minus it, from margins (b, K, K)."""
        each, one, others = np.arange(len(m))[:, None], k[:, None], self.rivals[k]
        return log_sum_exp(m[each, others, one])[1], -log_sum_exp(-m[each, one, others])[0]

    def _grow(self, ids: Array, states: Array) -> Array:
        """Cut states (b, state) by the nodes' splits and bound again what they ask for; which may hold a point."""
        t, size, rows = self.t, self.size, np.arange(len(ids))
        sign, rebound = t.sign[t.query[ids]], t.rebound[ids]
        states[rows, self.place[ids]] = np.minimum(states[rows, self.place[ids]], self.value[ids])
        m, odds = states[:, self.square : self.odds].reshape(-1, size, size), states[:, self.odds :]
        for bit, net in enumerate(self.nets, start=1):
            first = np.where(t.kind[ids] == bit, t.layer[ids] + 1, 1)
            for ordinal in range(1, len(net.relus)):
                at = np.flatnonzero((rebound & bit > 0) & (first <= ordinal))
                place = np.arange(net.ends[ordinal], net.ends[ordinal + 1]) + net.base
                up, neg = (np.ix_(at, place + half) for half in (0, net.ends[-1]))
                sides = states[up], states[neg]
                net.tighten(ordinal, *sides, net.lines(states[at]))
                states[up], states[neg] = sides
        for one_sign, net in ((1, self.nets[1]), (-1, self.nets[0])):
            at = np.flatnonzero((rebound & 4 > 0) & (sign == one_sign))
            who, ref, k = (
                np.repeat(np.arange(len(at)), size - 1),
                t.reference[ids[at]],
                t.label[t.query[ids[at]]],
            )
            others, rivals = self.rivals[ref].ravel(), self.rivals[k].ravel()
            for one, two in ((ref[who], others), (others, ref[who]), (rivals, k[who])):
                found = net.tops(len(net.nodes) - 1, who, net.lines(states[at]), one, two)
                m[at[who], one, two] = np.minimum(m[at[who], one, two], found)
        at = np.flatnonzero((t.kind[ids] == 3) | (rebound & 4 > 0))
        m[at] = closed(m[at])
        odds[at, 2:] = np.minimum(odds[at, 2:], np.stack(self._odds(m[at], t.label[t.query[ids[at]]]), 1))
        sums: list[Array] = [odds[:, ::2] + odds[:, 1::2], np.diagonal(m, axis1=1, axis2=2)]
        for net in self.nets:  # upper bounds of z plus those of -z
            both = states[:, net.base : net.base + 2 * net.ends[-1]].reshape(len(ids), 2, net.ends[-1])
            sums.append(both.sum(1))
        return np.logical_and.reduce([(part >= 0).all(1) for part in sums])

    def _leaves(self, ids: Array, states: Array, sign: int) -> Array:
        """Upper bounds of the raised net's p_k minus the lowered one's on leaves of queries of this sign."""
        t, size, each, leaf, k = (
            self.t,
            self.size,
            np.arange(len(ids)),
            self.t.leaf[ids],
            self.t.label[self.t.query[ids]],
        )
        m, (w, v, q, p) = t.rival[leaf], (x[leaf].astype(float) for x in (t.w, t.v, t.q_raised, t.q_lowered))
        raised, lowered = self.nets[::sign]
        slopes, extra = (t.teacher_slopes[leaf], t.student_slopes[leaf])[::sign], self._extra(ids)[::sign]
        others, w, off = self.rivals[k], w / w.sum(1, keepdims=True), 8 * (size + 8) * U
        v[each, k], v[each, m], log = 0, 0, np.log(np.where(w > 0, w, 1))
        up, down = np.zeros((len(ids), size)), v.copy()
        up[each, k], up[each[:, None], others] = 1, -w
        down[each, k], down[each, m] = -1, 1 - v.sum(1)
        square, row, one = (
            states[:, self.square : self.odds].reshape(-1, size, size),
            each[:, None],
            m[:, None],
        )
        free = others[others != one].reshape(len(ids), size - 2)
        above = rivals_above(-square[row, one, free], square[row, free, one], v[row, free])
        c_up = (w * log).sum(1) + off * (w * (1 + np.abs(log) + raised.top[-1][others])).sum(1)
        c_down = above + off * (1 + np.abs(v).sum(1)) * lowered.top[-1][m]
        work = ((raised, up, c_up), (lowered, down, c_down))
        (a, ca), (b, cb) = (
            net.back(len(net.nodes) - 1, rows, each, net.lines(states, slopes[i]), extra[i])
            for i, (net, rows, _) in enumerate(work)
        )
        ca, cb = ca + c_up, cb + c_down
        tu, tn, ru, rn = states[:, self.odds :].T
        tu, ru = np.minimum(tu, raised.maximum(a, ca)), np.minimum(ru, raised.maximum(b, cb))
        t_low, r_low = -tn, -rn
        if self.target is not None:  # only where the difference is larger does a leaf have to prove anything
            t_low, r_low = (
                np.maximum(t_low, least(self.target, ru)),
                np.maximum(r_low, least(self.target, tu)),
            )
        void = (t_low > tu) | (r_low > ru)
        rest = sigmoid_above(q, np.minimum(t_low, tu), tu) + sigmoid_above(p, np.minimum(r_low, ru), ru) - 1
        weight = q * (np.abs(ca) + np.abs(a) @ raised.top[0]) + p * (np.abs(cb) + np.abs(b) @ raised.top[0])
        joint = raised.maximum(q[:, None] * a + p[:, None] * b, q * ca + p * cb + 8 * U * weight)
        joint = joint + rest + 8 * U * (np.abs(joint) + np.abs(rest) + 2)
        found = np.minimum(joint, sigmoid(tu) + sigmoid(ru) - 1 + 16 * U)
        need(np.isfinite(found).all(), "a leaf's bound is NaN or infinite")
        return np.where(void, -1.0, found)  # nothing is there, or nothing above the target

    def _extra(self, ids: Array) -> list[Array]:
        """What the multipliers of the splits on the leaves' paths add to the ReLUs' arguments, a net each."""
        t, found = self.t, [np.zeros((len(ids), net.ends[-1])) for net in self.nets]
        for row, node in enumerate(ids.tolist()):
            place = t.beta_offsets[t.leaf[node] + 1]
            while t.parent[node] >= 0:
                place, kind = place - 1, t.kind[node]
                if kind <= 2:
                    at = self.nets[kind - 1].ends[t.layer[node]] + t.index[node]
                    found[kind - 1][row, at] = t.side[node] * t.beta[place]
                node = t.parent[node]
        return found


def prove(arrays: dict[str, Array]) -> Verified:
    """The bound that a certificate's arrays (by their names in the file) prove, whatever they claim.

    Of one that is `shortened` (its leaves speak only of differences above the claim), at least the claim.

    Raises:
        Refused: they prove nothing.
    """
    try:
        with np.errstate(all="ignore"):  # whatever overflows is found out by not being finite
            search = Search(dict(arrays))
            return Verified(search.bound(), search.header, len(search.t.parent), len(search.t.w))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as error:
        raise Refused(f"malformed: {type(error).__name__} {error}") from error


def read(path: str) -> dict[str, Array]:
    """All arrays of a file, or `Unreadable`."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        AttributeError,
        TypeError,
    ) as error:
        raise Unreadable(f"{path} is no certificate: no .npz archive of plain arrays") from error


def verify(path: str) -> Verified:
    """Check a file.

    Raises:
        Refused: its claim is not proved.
        Unreadable: it is no certificate.
    """
    done = prove(read(path))
    claim = done.header.get("upper")
    need(isinstance(claim, float) and done.bound <= claim, f"it claims {claim!r}, proved is {done.bound!r}")
    return done
