"""`Nodes`: a batch of search nodes as tensors, one row a node."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

TEACHER, STUDENT, MARGIN, RAISED, LOWERED = 1, 2, 3, 4, 5  # what a split cuts


@dataclass(eq=False)
class Nodes:
    """N nodes of the search trees of all queries.

    Attributes:
        point, k, sign: the query: which point, class, and +1 (teacher raised) or -1 (student raised).
        bound: upper bound of the query on the node's part of the ball.
        low, high: intervals of the ReLU inputs of teacher and student, side by side (N, nT + nS).
        split: side of each ReLU's split, 0 where it is not split.
        margins: upper bounds of z_i - z_j of the lowered network.
        odds: ranges of t (raised) and r (lowered): (N, 4) as t low, t high, r low, r high.
        firm: the same from splits and margins alone, without what earlier rows of t and r gave.
        reference: the rival m.
        omega, v, q, alpha, beta: free parameters; v by class, q the slopes of t and r (-1 where they are still
            their chords), beta >= 0 by ReLU.
        near: logits of the lowered network where its row is largest: where a line above its log-sum-exp should be low.
        choice: what to split next: kind, ReLU or class, other class; cut: where.
        weak: ReLU inputs whose relaxation costs most, to be bounded anew (N, R), -1 for none.
        serial: the node's number in the record of the search, -1 without one.
    """

    point: Int[Tensor, " m"]
    k: Int[Tensor, " m"]
    sign: Int[Tensor, " m"]
    bound: Float[Tensor, " m"]
    low: Float[Tensor, "m n"]
    high: Float[Tensor, "m n"]
    split: Int8[Tensor, "m n"]
    margins: Float[Tensor, "m c c"]
    odds: Float[Tensor, "m 4"]
    firm: Float[Tensor, "m 4"]
    reference: Int[Tensor, " m"]
    omega: Float[Tensor, "m c"]
    v: Float[Tensor, "m c"]
    q: Float[Tensor, "m 2"]
    alpha: Float[Tensor, "m n"]
    beta: Float[Tensor, "m n"]
    near: Float[Tensor, "m c"]
    choice: Int[Tensor, "m 3"]
    cut: Float[Tensor, " m"]
    weak: Int[Tensor, "m r"]
    serial: Int[Tensor, " m"]

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, index: Tensor) -> Nodes:
        """The nodes at `index` (positions or a mask), copied."""
        return Nodes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def put(self, index: Tensor, other: Nodes) -> None:
        """Overwrite the nodes at `index`."""
        for f in fields(self):
            getattr(self, f.name)[index] = getattr(other, f.name)

    def to(self, dtype: torch.dtype) -> Nodes:
        """The same nodes with all real numbers in another precision."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return Nodes(**{k: v.to(dtype) if v.is_floating_point() else v for k, v in held.items()})

    @staticmethod
    def join(parts: list[Nodes]) -> Nodes:
        """All parts, one after the other."""
        return Nodes(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Nodes)})


class Pool:
    """Open nodes in slots that are used again; grows by doubling."""

    def __init__(self, start: Nodes) -> None:
        self._nodes = start
        self._free: list[int] = []
        self._open = torch.ones(len(start), dtype=torch.bool, device=start.bound.device)

    def __len__(self) -> int:
        return int(self._open.sum())

    @property
    def bounds(self) -> Tensor:
        """Bound of every slot, -inf where it is free."""
        return torch.where(self._open, self._nodes.bound, -torch.inf)

    @property
    def nodes(self) -> Nodes:
        """All slots, free ones included."""
        return self._nodes

    @property
    def open(self) -> Tensor:
        """Which slots hold open nodes."""
        return self._open

    def pop(self, slots: Tensor) -> Nodes:
        """Take the nodes in these slots out."""
        self._open[slots] = False
        self._free += slots.tolist()
        return self._nodes.take(slots)

    def add(self, nodes: Nodes) -> None:
        """Put nodes into free slots."""
        missing = len(nodes) - len(self._free)
        if missing > 0:
            old = len(self._nodes)
            extra = max(missing, old)
            filler = self._nodes.take(torch.zeros(extra, dtype=torch.long, device=self._open.device))
            self._nodes = Nodes.join([self._nodes, filler])
            self._open = torch.cat([self._open, self._open.new_zeros(extra)])
            self._free += range(old, old + extra)
        slots = torch.tensor(
            [self._free.pop() for _ in range(len(nodes))], dtype=torch.long, device=self._open.device
        )
        self._nodes.put(slots, nodes)
        self._open[slots] = True
