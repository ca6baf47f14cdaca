"""`Record`: the search's trees with every node's parameters, from which a certificate is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.attacks.ball import Ball
from understudy.bounds.certificate import Certificate, Leaves, Proof, Queries, Tree
from understudy.bounds.description import network
from understudy.bounds.graph import Graph
from understudy.bounds.search.joint import Parameters, Problem, Space
from understudy.bounds.search.nodes import MARGIN, STUDENT, TEACHER, Nodes

COLUMNS = ("parent", "kind", "layer", "index", "other", "cut", "side", "rebound", "reference")
CLAIMED_ABOVE = 1e-7  # a certificate stores parameters in single precision and is checked by other arithmetic
Table = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(eq=False)
class Record:
    """Rows are appended in the order nodes are made; a node's `serial` is its row.

    `made` holds the trees (a dict of arrays a batch), `proved` the bounds and parameters found for them.
    """

    space: Space
    made: list[Table] = field(default_factory=list)
    proved: list[Table] = field(default_factory=list)
    count: int = 0

    def roots(self, nodes: Nodes) -> None:
        """Number the roots, one a query."""
        n = len(nodes)
        nothing = np.full(n, -1, np.int32)
        zero = np.zeros(n)
        self._made(nodes, nothing, zero, nothing, nothing, nothing, zero, zero, zero, nothing)

    def split(self, parents: Nodes, both: Nodes, side: Tensor) -> None:
        """Number both children of every parent; `both` has the upper sides first."""
        kind, first, other = (part.cpu().numpy() for part in both.choice.unbind(1))
        teacher, student, margin = kind == TEACHER, kind == STUDENT, kind == MARGIN
        local = first - np.where(student, self.space.teacher.width, 0)
        layer, within = np.full(len(kind), -1), first.copy()
        for here, net in ((teacher, self.space.teacher), (student, self.space.student)):
            if here.any():
                layer[here] = net.ordinals.cpu().numpy()[local[here]]
                starts = np.array([start for start, _ in net.spans])
                within[here] = local[here] - starts[layer[here]]
        lowered = np.where(both.sign.cpu().numpy() > 0, student, teacher)
        rebound = teacher * 1 + student * 2 + lowered * 4
        reference = np.where(lowered, both.reference.cpu().numpy(), -1)
        above = torch.cat([parents.serial, parents.serial]).cpu().numpy()
        cut = np.where(margin | (kind > MARGIN), both.cut.cpu().numpy(), 0.0)
        self._made(
            both, above, kind, layer, np.where(kind > MARGIN, -1, within), np.where(margin, other, -1),
            cut, side.cpu().numpy(), rebound, reference,
        )  # fmt: skip

    def _made(self, nodes: Nodes, *columns: Any) -> None:
        nodes.serial = torch.arange(self.count, self.count + len(nodes), device=nodes.bound.device)
        self.count += len(nodes)
        query = nodes.k * 2 + (nodes.sign < 0)
        self.made.append({"query": query.cpu().numpy(), **dict(zip(COLUMNS, columns, strict=True))})

    def prove(self, nodes: Nodes, problem: Problem, parameters: Parameters, own: Tensor) -> None:
        """What one evaluation proved of each node by itself, and with which parameters."""
        v = torch.zeros_like(nodes.omega).scatter_(1, problem.box.others, parameters.v)
        weights = parameters.omega.scatter(1, nodes.k[:, None], -torch.inf).softmax(1)
        rivals = ~torch.nn.functional.one_hot(nodes.k, weights.shape[1]).bool()
        q = parameters.theta * problem.chords
        held: dict[str, tuple[Tensor, Any]] = {
            "serial": (nodes.serial, np.int64), "own": (own, np.float64),
            "w": (weights[rivals].view(len(nodes), -1), np.float32), "rival": (nodes.reference, np.int32),
            "v": (v, np.float32), "q": (q, np.float32), "alpha": (parameters.alpha, np.float16),
            "beta": (parameters.beta, np.float16),
        }  # fmt: skip
        self.proved.append({name: values.cpu().numpy().astype(kind) for name, (values, kind) in held.items()})

    def finish(self) -> tuple[Proof, float]:
        """The smallest trees that prove as much as the search did, and what they prove."""
        made = {name: np.concatenate([part[name] for part in self.made]) for name in self.made[0]}
        proved = {name: np.concatenate([part[name] for part in self.proved]) for name in self.proved[0]}
        where = np.full(self.count, -1)
        where[proved["serial"]] = np.arange(len(proved["serial"]))
        own = np.where(where >= 0, proved["own"][where], -1.0)  # a child that was empty proves what it needs
        parent = made["parent"]
        largest = np.full(self.count, -np.inf)
        for node in range(self.count - 1, -1, -1):
            value = own[node] if largest[node] == -np.inf else min(own[node], largest[node])
            if own[node] <= largest[node]:
                largest[node] = -np.inf  # its own parameters prove no less than the parts: they are left out
            if parent[node] >= 0:
                largest[parent[node]] = max(largest[parent[node]], value)
            own[node] = value
        inner = np.isfinite(largest)
        kept = np.zeros(self.count, bool)
        for node in range(self.count):
            kept[node] = parent[node] < 0 or (kept[parent[node]] and inner[parent[node]])
        number = np.cumsum(kept) - 1
        rows = np.flatnonzero(kept)
        ends = rows[~inner[rows] & (where[rows] >= 0)]
        leaf = np.full(self.count, -1)
        leaf[ends] = np.arange(len(ends))
        tree = Tree(
            parent=np.where(parent[rows] >= 0, number[parent[rows]], -1).astype(np.int32),
            query=made["query"][rows].astype(np.int32), kind=made["kind"][rows].astype(np.uint8),
            layer=made["layer"][rows].astype(np.int32), index=made["index"][rows].astype(np.int32),
            other=made["other"][rows].astype(np.int32), cut=made["cut"][rows].astype(np.float64),
            side=made["side"][rows].astype(np.int8), rebound=made["rebound"][rows].astype(np.uint8),
            reference=made["reference"][rows].astype(np.int32), leaf=leaf[rows].astype(np.int32),
        )  # fmt: skip
        held = {name: values[where[ends]] for name, values in proved.items()}
        offsets, multipliers = self._multipliers(made, ends, held["beta"])
        width = self.space.teacher.width
        leaves = Leaves(
            w=held["w"], rival=held["rival"], v=held["v"], q_raised=held["q"][:, 0].copy(),
            q_lowered=held["q"][:, 1].copy(), teacher_slopes=held["alpha"][:, :width].copy(),
            student_slopes=held["alpha"][:, width:].copy(), beta_offsets=offsets, beta=multipliers,
        )  # fmt: skip
        label = np.arange(self.space.classes, dtype=np.int32).repeat(2)
        sign = np.tile(np.array([1, -1], dtype=np.int8), self.space.classes)
        return Proof(Queries(label, sign), tree, leaves), float(own[parent < 0].max())

    def _multipliers(self, made: Table, ends: Any, beta: Any) -> tuple[Any, Any]:
        """Every leaf's multipliers along its path, from the root down."""
        starts = {1: [s for s, _ in self.space.teacher.spans], 2: [s for s, _ in self.space.student.spans]}
        paths: list[list[float]] = []
        parent, kind, layer, index = (made[name].tolist() for name in ("parent", "kind", "layer", "index"))
        for row, node in enumerate(ends.tolist()):
            path: list[float] = []
            while parent[node] >= 0:
                at = -1
                if kind[node] <= STUDENT:
                    at = starts[kind[node]][layer[node]] + index[node]
                    at += self.space.teacher.width if kind[node] == STUDENT else 0
                path.append(float(beta[row, at]) if at >= 0 else 0.0)
                node = parent[node]
            paths.append(path[::-1])
        lengths = np.array([0, *(len(path) for path in paths)], dtype=np.int64)
        return np.cumsum(lengths), np.array([b for path in paths for b in path], dtype=np.float32)


def certificate(
    teacher: Graph, student: Graph, point: Tensor, ball: Ball, record: Record, status: str
) -> Certificate:
    """The certificate of one point's finished search; the files' hashes are left empty.

    The claim lies `CLAIMED_ABOVE` above what the search proved: parameters are stored in single precision.
    """
    proof, proved = record.finish()
    return Certificate(
        networks={"teacher": network(teacher, ""), "student": network(student, "")},
        input=point.detach().cpu().double().numpy(),
        eps=ball.eps,
        low=ball.low,
        high=ball.high,
        classes=record.space.classes,
        upper=min(1.0, proved + CLAIMED_ABOVE),
        status=status,
        proof=proof if ball.norm == "linf" else None,
        shortened=True,
    )
