"""Certificates made without the engine: random tiny networks, random trees, random parameters (any are sound)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from understudy.bounds.certificate import Certificate, Leaves, Proof, Queries, RootSlopes, Tree
from understudy.bounds.checker.verify import prove
from understudy.bounds.description import Network, NetworkNode

Array = np.ndarray[Any, np.dtype[Any]]
Rng = np.random.Generator


def dense(rng: Rng, fan: int, out: int) -> dict[str, Array]:
    return {"weight": rng.normal(size=(out, fan)) * 1.5 / fan**0.5, "bias": rng.normal(size=out) * 0.3}


def mlp(rng: Rng, inputs: int = 3, hidden: tuple[int, ...] = (5, 4), classes: int = 3) -> Network:
    nodes, before = [NetworkNode("input", (), (inputs,))], inputs
    for width in hidden:
        nodes.append(NetworkNode("linear", (len(nodes) - 1,), (width,), {}, dense(rng, before, width)))
        nodes.append(NetworkNode("relu", (len(nodes) - 1,), (width,)))
        before = width
    nodes.append(NetworkNode("linear", (len(nodes) - 1,), (classes,), {}, dense(rng, before, classes)))
    return Network(tuple(nodes), "0" * 64)


def residual(rng: Rng, inputs: int = 3, classes: int = 3) -> Network:
    """A node that three others read, an addition with coefficients, a sum over pairs, a permutation with a gap."""
    n = NetworkNode
    factors = {"coefficients": np.array([1.0, 0.5, -0.75])}
    nodes = (
        n("input", (), (inputs,)),
        n("linear", (0,), (4,), {}, dense(rng, inputs, 4)),
        n("relu", (1,), (4,)),
        n("linear", (2,), (4,), {}, dense(rng, 4, 4)),
        n("scale", (2,), (4,), {}, {"scale": rng.normal(size=4), "bias": rng.normal(size=1)}),
        n("add", (2, 3, 4), (4,), {}, factors),
        n("relu", (5,), (4,)),
        n("gather", (6,), (2, 3), {}, {"index": np.array([[3, -1, 0], [1, 1, 2]], np.int32)}),
        n("scatter", (7,), (3,), {}, {"index": np.array([0, 1, 2, 0, 1, 1], np.int32)}),
        n("linear", (8,), (classes,), {}, dense(rng, 3, classes)),
    )
    return Network(nodes, "1" * 64)


def convolutional(rng: Rng, classes: int = 3) -> Network:
    """Stride, padding and dilation that differ by axis, groups; input (2, 3, 4)."""
    n = NetworkNode
    first = {"stride": [1, 2], "padding": [1, 0], "dilation": [2, 1], "groups": 1}
    second = {"stride": [1, 1], "padding": [0, 1], "dilation": [1, 1], "groups": 2}
    filters = {"weight": rng.normal(size=(4, 2, 2, 2)) * 0.5, "bias": rng.normal(size=(4, 1, 1)) * 0.3}
    nodes = (
        n("input", (), (2, 3, 4)),
        n("conv2d", (0,), (4, 3, 2), first, filters),
        n("relu", (1,), (4, 3, 2)),
        n("conv2d", (2,), (2, 2, 2), second, {"weight": rng.normal(size=(2, 2, 2, 3)) * 0.5}),
        n("relu", (3,), (2, 2, 2)),
        n("reshape", (4,), (8,)),
        n("linear", (5,), (classes,), {}, dense(rng, 8, classes)),
    )  # fmt: skip
    return Network(nodes, "2" * 64)


def convolved(x: Array, w: Array, s: Any, shape: tuple[int, ...]) -> Array:
    """A convolution by its definition, one output after the other. x: (m, c, h, w)."""
    (sy, sx), (py, px), (dy, dx), groups = s["stride"], s["padding"], s["dilation"], s["groups"]
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    out = np.zeros((len(x), *shape))
    per, each = w.shape[1], shape[0] // groups
    for o, i, j, c, a, b in itertools.product(*map(range, (*shape, *w.shape[1:]))):
        out[:, o, i, j] += w[o, c, a, b] * padded[:, o // each * per + c, i * sy + a * dy, j * sx + b * dx]
    return out


def run(network: Network, x: Array) -> list[Array]:
    """Every node's value for points (m, *shape), each (m, *shape)."""
    values = [x]
    for node in network.nodes[1:]:
        a, before = node.arrays, values[node.parents[0]]
        flat = before.reshape(len(x), -1)
        if node.op == "linear":
            value = before @ a["weight"].T
        elif node.op == "conv2d":
            value = convolved(before, a["weight"], node.settings, node.shape)
        elif node.op == "scale":
            value = before * a["scale"]
        elif node.op == "relu":
            value = np.maximum(before, 0)
        elif node.op == "add":
            value = sum(c * values[p] for c, p in zip(a["coefficients"], node.parents, strict=True))
        elif node.op == "gather":
            value = np.where(a["index"].ravel() < 0, 0, flat[:, np.maximum(a["index"].ravel(), 0)])
        elif node.op == "scatter":
            value = np.stack([flat[:, a["index"].ravel() == i].sum(1) for i in range(np.prod(node.shape))], 1)
        else:
            value = flat
        value = value.reshape(len(x), *node.shape)
        values.append(value + a["bias"] if "bias" in a else value)
    return values


def before_relus(network: Network, values: list[Array]) -> list[Array]:
    return [values[network.nodes[at].parents[0]].reshape(len(values[0]), -1) for at in network.relus]


def log_odds(z: Array) -> Array:
    """(m, classes)."""
    each = []
    for k in range(z.shape[1]):
        rest = np.delete(z, k, axis=1) - z[:, k : k + 1]
        each.append(-np.log(np.exp(rest - rest.max(1, keepdims=True)).sum(1)) - rest.max(1))
    return np.stack(each, 1)


def samples(certificate: Certificate, count: int, rng: Rng) -> Array:
    """Points of the ball, corners among them."""
    x = certificate.input
    low, high = (
        np.maximum(x - certificate.eps, certificate.low),
        np.minimum(x + certificate.eps, certificate.high),
    )
    where = rng.random((count, *x.shape))
    where[::3] = where[::3].round()
    return low + where * (high - low)


def gaps(certificate: Certificate, points: Array) -> Array:
    """p^T - p^S, (m, classes)."""
    odds = [log_odds(run(certificate.networks[net], points)[-1]) for net in ("teacher", "student")]
    return 1 / (1 + np.exp(-odds[0])) - 1 / (1 + np.exp(-odds[1]))


def reached(certificate: Certificate, points: Array) -> Array:
    """For each query the leaf's node that each point falls into, (queries, m): by running the networks."""
    proof = certificate.proof
    assert proof is not None
    tree, nets = proof.tree, [certificate.networks[net] for net in ("teacher", "student")]
    values = [run(net, points) for net in nets]
    before = [before_relus(net, value) for net, value in zip(nets, values, strict=True)]
    logits = [value[-1] for value in values]
    odds = [log_odds(z) for z in logits]
    children: dict[int, list[int]] = {}
    for node in np.flatnonzero(tree.parent >= 0):
        children.setdefault(int(tree.parent[node]), []).append(int(node))
    found = np.empty((len(proof.queries.label), len(points)), int)
    for root in np.flatnonzero(tree.parent < 0):
        query = tree.query[root]
        sign, k = proof.queries.sign[query], proof.queries.label[query]
        lowered, (high_odds, low_odds) = logits[::sign][1], odds[::sign]
        for m in range(len(points)):
            node = int(root)
            while node in children:
                one = children[node][0]
                kind, i, j = tree.kind[one], tree.index[one], tree.other[one]
                value = (
                    before[kind - 1][tree.layer[one]][m, i] if kind <= 2
                    else lowered[m, i] - lowered[m, j] if kind == 3
                    else high_odds[m, k] if kind == 4 else -low_odds[m, k]
                )  # fmt: skip
                node = next(c for c in children[node] if (value - tree.cut[c]) * tree.side[c] >= 0)
            found[query, m] = node
    return found


def random_proof(rng: Rng, certificate: Certificate, splits: int) -> Proof:
    """Trees with random splits at places where points lie on both sides, and random parameters."""
    nets, classes = [certificate.networks[net] for net in ("teacher", "student")], certificate.classes
    values = [run(net, samples(certificate, 50, rng)) for net in nets]
    before, logits = [before_relus(n, v) for n, v in zip(nets, values, strict=True)], [v[-1] for v in values]
    asked = [(k, sign) for k in range(classes) for sign in (1, -1)]
    rows: list[dict[str, Any]] = []
    plain = {
        "kind": 0,
        "layer": -1,
        "index": -1,
        "other": -1,
        "cut": 0.0,
        "side": 0,
        "rebound": 0,
        "reference": -1,
    }
    for query in range(len(asked)):
        rows.append(plain | {"parent": -1, "query": query})
    open_nodes = list(range(len(asked)))
    for _ in range(splits):
        parent = open_nodes.pop(int(rng.integers(len(open_nodes))))
        query = rows[parent]["query"]
        (k, sign), kind = asked[query], int(rng.choice([1, 1, 2, 2, 3, 3, 4, 5]))
        raised, lowered = logits[::sign]
        split = {"kind": kind, "layer": -1, "index": -1, "other": -1, "cut": 0.0}
        m = rng.integers(50)
        if kind <= 2 and not before[kind - 1]:
            kind = split["kind"] = 3
        if kind <= 2:
            layer = int(rng.integers(len(before[kind - 1])))
            spread = before[kind - 1][layer]
            both = np.flatnonzero((spread.min(0) < 0) & (spread.max(0) > 0))
            split |= {
                "layer": layer,
                "index": int(rng.choice(both if len(both) else np.arange(spread.shape[1]))),
            }
        elif kind == 3:
            i, j = rng.choice(classes, 2, replace=False)
            split |= {"index": int(i), "other": int(j), "cut": float(lowered[m, i] - lowered[m, j])}
        else:
            split["cut"] = float(log_odds(raised)[m, k] if kind == 4 else -log_odds(lowered)[m, k])
        for side in rng.permutation([1, -1]):
            bits = int(rng.integers(8))
            reference = int(rng.integers(classes)) if bits & 4 else -1
            rows.append(
                split
                | {"parent": parent, "query": query, "side": side, "rebound": bits, "reference": reference}
            )
            open_nodes.append(len(rows) - 1)
    return Proof(
        Queries(np.array([k for k, _ in asked], np.int32), np.array([s for _, s in asked], np.int8)),
        *grown(rng, rows, asked, classes, [sum(b.shape[1] for b in part) for part in before]),
        {name: root_slopes(rng, part) for name, part in zip(("teacher", "student"), before, strict=True)},
    )


def grown(
    rng: Rng, rows: list[dict[str, Any]], asked: Any, classes: int, relus: list[int]
) -> tuple[Tree, Leaves]:
    """The table of nodes as arrays, with random parameters for nine leaves in ten."""
    inner = {row["parent"] for row in rows}
    ends = [i for i in range(len(rows)) if i not in inner]
    kept = [i for i in ends if rng.random() < 0.9] or ends
    for i, row in enumerate(rows):
        row["leaf"] = kept.index(i) if i in kept else -1
        row["depth"] = 0 if row["parent"] < 0 else rows[row["parent"]]["depth"] + 1
    kinds = {f.name: f.type.split("[")[0].lower() for f in dataclasses.fields(Tree)}
    tree = Tree(**{name: np.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    count = len(kept)
    labels = [asked[rows[i]["query"]][0] for i in kept]
    offsets = np.cumsum([0, *(rows[i]["depth"] for i in kept)]).astype(np.int64)

    def positive(*shape: int, size: float = 1.0) -> Array:
        return (rng.exponential(size, shape) * (rng.random(shape) < 0.7)).astype(np.float32)

    leaves = Leaves(
        positive(count, classes - 1) + np.float32(0.01),
        np.array([rng.choice([j for j in range(classes) if j != k]) for k in labels], np.int32),
        rng.normal(scale=0.5, size=(count, classes)).astype(np.float32),
        positive(count, size=0.1),
        positive(count, size=0.1),
        rng.random((count, relus[0])).astype(np.float16),
        rng.random((count, relus[1])).astype(np.float16),
        offsets,
        positive(int(offsets[-1]), size=0.1),
    )
    return tree, leaves


def root_slopes(rng: Rng, before: list[Array]) -> dict[int, RootSlopes]:
    found = {}
    for ordinal in range(1, len(before)):
        rows = np.sort(rng.choice(before[ordinal].shape[1], 2, replace=False)).astype(np.int32)
        earlier = sum(b.shape[1] for b in before[:ordinal])
        found[ordinal] = RootSlopes(rows, rng.random((4, earlier)).astype(np.float16))
    return found


Build = Callable[[Rng], Network]


def random_certificate(
    seed: int, teacher: Build = mlp, student: Build = mlp, *, splits: int = 12, eps: float = 0.3
) -> Certificate:
    """A certificate whose claim is what the checker proves, and a little more."""
    rng = np.random.default_rng(seed)
    networks = {"teacher": teacher(rng), "student": student(rng)}
    x = rng.random(networks["teacher"].nodes[0].shape)
    classes = networks["teacher"].nodes[-1].shape[0]
    bare = Certificate(networks, x, eps, 0.0, 1.0, classes, 2.0, "timeout", None)
    whole = dataclasses.replace(bare, proof=random_proof(rng, bare, splits))
    return dataclasses.replace(whole, upper=prove(whole.arrays()).bound + 1e-9)
