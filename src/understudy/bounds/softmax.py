"""Upper bounds on |p_t,k - p_s,k| from linear bounds of both networks' logits: UB1, UB2 and what they need.

`margins[:, j, k]` is an upper bound of z_j - z_k over the region, 0 on the diagonal; so z_j - z_k lies in
[-margins[:, k, j], margins[:, j, k]]. The log-odds of class k are ln p_k / (1 - p_k), which is minus the
log-sum-exp of z_j - z_k over its rivals j.
Everything is computed in log-odds, so nothing overflows. NaN in gives NaN out.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Range = tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]  # lower and upper


def rivals(classes: int, device: torch.device) -> Bool[Tensor, "c c"]:
    """True where row and column differ."""
    return ~torch.eye(classes, dtype=torch.bool, device=device)


def log_odds(margins: Float[Tensor, "b c c"]) -> Range:
    """Lower and upper bounds of every class's log-odds, from bounds of the differences of logits."""
    other = rivals(margins.shape[-1], margins.device)
    high = margins.masked_fill(~other, -torch.inf)  # rivals j down the rows, class k along the columns
    low = (-margins).masked_fill(~other, -torch.inf)  # -margins[k, j] <= z_j - z_k
    return -high.logsumexp(1), -low.logsumexp(2)


def sigmoid_difference(x: Float[Tensor, "*n"], y: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sigmoid(x) - sigmoid(y), taken on the side where both are small, so that nothing cancels."""
    flipped = x + y > 0
    return torch.where(flipped, -y, x).sigmoid() - torch.where(flipped, -x, y).sigmoid()


def separate(teacher: Range, student: Range) -> Float[Tensor, "b c"]:
    """UB1: each network's range of log-odds on its own, at opposite ends."""
    one = sigmoid_difference(teacher[1], student[0])
    return torch.maximum(one, sigmoid_difference(student[1], teacher[0]))


def tanh_gap(shift: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Largest |sigmoid(a) - sigmoid(b)| with |a - b| <= shift: tanh(shift / 4)."""
    return torch.tanh(shift / 4)


def clipped(base: Range, raised: Range, shift: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """Largest sigmoid(r) - sigmoid(a) with a in `base`, r in `raised` and r - a <= shift.

    On r = a + shift the difference is farthest from 0 at a = -shift / 2 and nears 0 on both sides; where the
    range of r ends before that, it falls in a. So the maximum is there or at an end.
    """
    low = torch.maximum(base[0], raised[0] - shift)
    high = torch.maximum(low, torch.minimum(base[1], raised[1] - shift))
    a = torch.stack([torch.minimum(torch.maximum(-shift / 2, low), high), low, high])
    return sigmoid_difference(torch.minimum(a + shift, raised[1]), a).amax(0)


def joint(teacher: Range, student: Range, up: Tensor, down: Tensor) -> Float[Tensor, "b c"]:
    """UB2: the student's log-odds minus the teacher's lie in [-down, up] (both (b, c)); both signs matter."""
    return torch.maximum(clipped(teacher, student, up), clipped(student, teacher, down))


def shifts(differences: Float[Tensor, "b c c"]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """(up, down) for `joint`, from upper bounds of e_jk = (s_j - s_k) - (t_j - t_k) at [:, j, k].

    student's log-odds minus the teacher's lies between -max_j e_jk and -min_j e_jk.
    """
    other = rivals(differences.shape[-1], differences.device)
    worst = differences.masked_fill(~other, -torch.inf)
    return worst.amax(2), worst.amax(1)
