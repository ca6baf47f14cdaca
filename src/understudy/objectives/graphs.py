"""What neighbours in a graph say of one another: the teacher's answers next door, and the differences along edges.

Values belong to edges. Each is booked to the node that its edge leaves, and weighted so that the mean over all N nodes
is the mean over all edges: one value a node (N,), and the one reduction of every other objective stays right.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.divergences import kl


def low_frequency(
    teacher_logits: Float[Tensor, "n c"], student_logits: Float[Tensor, "n c"], edges: Int[Tensor, "2 e"]
) -> Float[Tensor, " n"]:
    """N / (E + N) sum over j = i and edges (i, j) of KL(softmax(t_j) || softmax(s_i)) a node i, in nats: (N,).

    The mean over nodes is the mean over the E edges and N self-loops. Lowest where softmax(s_i) is the mean of the
    teacher's confidences at i and its neighbours, not where student and teacher are equal.

    Raises:
        InputError: models that speak of different nodes, and as `kl` does.
    """
    t, s = _same_nodes(teacher_logits, student_logits)
    own = torch.arange(len(s), device=s.device)
    source, target = torch.cat((edges[0], own)), torch.cat((edges[1], own))
    return _booked(kl(t[target], s[source]), source, len(s))


def high_frequency(
    teacher_logits: Float[Tensor, "n c"],
    student_logits: Float[Tensor, "n c"],
    edges: Int[Tensor, "2 e"],
    tau: float,
) -> Float[Tensor, " n"]:
    """N / E sum over edges (i, j) of KL(softmax(|t_i - t_j| / tau) || softmax(|s_i - s_j| / tau)) a node i: (N,).

    The mean over nodes is the mean over the edges; 0 without any. Unchanged if one vector is added to all logits, or
    if all change sign: it says how far neighbours differ in each class, not which class they are of. Keeps 3 E C
    numbers.

    Raises:
        InputError: models that speak of different nodes, and as `kl` does.
    """
    t, s = _same_nodes(teacher_logits, student_logits)
    source, target = edges
    return _booked(kl((t[source] - t[target]).abs(), (s[source] - s[target]).abs(), tau), source, len(s))


def neighbour_mean(logits: Float[Tensor, "n c"], edges: Int[Tensor, "2 e"]) -> Float[Tensor, "n c"]:
    """The mean of softmax over a node and the nodes that its edges lead to: (N, C), where `low_frequency` is lowest."""
    p = logits.softmax(1)
    total = p.index_add(0, edges[0], p[edges[1]])
    degree = torch.ones_like(p[:, 0]).index_add(0, edges[0], torch.ones_like(edges[0]).to(p))
    return total / degree[:, None]


def _booked(values: Tensor, source: Tensor, nodes: int) -> Tensor:
    """Edge values summed where their edges leave, times N / E: (N,)."""
    total = torch.zeros(nodes, dtype=values.dtype, device=values.device).index_add(0, source, values)
    return total * (nodes / max(len(values), 1))


def _same_nodes(t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Both logits in at least float32 (differences of neighbours lose their digits in half precision)."""
    if t.shape != s.shape or t.dim() != 2:
        raise InputError(
            f"student and teacher must speak of the same nodes and classes, found {tuple(s.shape)} and {tuple(t.shape)}"
        )
    wide = torch.promote_types(torch.promote_types(t.dtype, s.dtype), torch.float32)
    return t.to(wide), s.to(wide)
