"""How far two confidences can differ, from every rival's margin in both networks and their difference.

With a_j = t_j - t_k, b_j = s_j - s_k over the rivals j of class k and A, B the sums of exp(a_j), exp(b_j),

    p_t,k - p_s,k = 1 / (1 + A) - 1 / (1 + B).

Each (a_j, b_j) has a_j in [l_j, u_j] and b_j <= min(h_j, a_j + e_j), so that for every lambda > 0

    B - lambda A <= H(lambda), the sum of the largest exp(b_j) - lambda exp(a_j), each at a = l_j or h_j - e_j.

The gap is then largest on B = min(sum of exp(h_j), lambda A + H), a function of A alone whose maximum is at an
end, a kink, or where the slopes agree: 1 + lambda A + H = sqrt(lambda) (1 + A). The best of a few lambda is
taken. Against the largest e_j for all rivals at once, rivals that cannot matter no longer count.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.softmax import rivals

Range = tuple[Float[Tensor, "*n j"], Float[Tensor, "*n j"]]
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # lambda = exp(share * the largest e_j)
UNITS = 64  # in the last place, for every rounding on the way


def odds_gaps(
    teacher: Float[Tensor, "b c c"], student: Float[Tensor, "b c c"], between: Float[Tensor, "b c c"]
) -> Float[Tensor, "b c"]:
    """Upper bounds of |p_t,k - p_s,k| from those of t_j - t_k, s_j - s_k and of the second minus the first.

    In [0, 1]; 1 where something overflowed or is NaN.
    """
    ours, theirs = _ranges(teacher), _ranges(student)
    up, down = _rivals_last(between.mT), _rivals_last(between)
    return torch.maximum(rival_gap(ours, theirs, up), rival_gap(theirs, ours, down)).clamp(min=0)


def _ranges(margins: Tensor) -> Range:
    """Of z_j - z_k at [:, k, rival j]."""
    return -_rivals_last(margins), _rivals_last(margins.mT)


def _rivals_last(square: Tensor) -> Tensor:
    """(b, c, c) without its diagonal: (b, c, c - 1)."""
    count = square.shape[-1]
    return square[:, rivals(count, square.device)].view(len(square), count, count - 1)


def rival_gap(raised: Range, lowered: Range, between: Float[Tensor, "*n j"]) -> Float[Tensor, "*n"]:
    """Largest p - q of one class, p in the raised and q in the lowered network; at most 1, which NaN counts as.

    Args:
        raised, lowered: ranges of z_j - z_k over the rivals j (last axis) in each network.
        between: upper bounds of the lowered network's z_j - z_k minus the raised one's.
    """
    (low, high), (bottom, ceiling) = raised, lowered
    unit = UNITS * torch.finfo(between.dtype).eps
    # the exponents' own roundings are relative to their size
    units = unit * (1 + low.abs() + high.abs() + ceiling.abs() + between.abs())
    least, floor = (part.exp().sum(-1) * (1 - unit) for part in (low, bottom))
    most, top = (part.exp().sum(-1) * (1 + unit) for part in (high, ceiling))
    largest = between.amax(-1).clamp(min=0)
    best = torch.full_like(least, torch.inf)
    for share in SHARES:
        half = share / 2 * largest + 4 * units.amax(-1)  # past where rounding could turn a sign
        root, above, weight = half.exp(), torch.expm1(half), (2 * half).exp()  # above = root - 1
        terms = _reach(raised, ceiling, between, weight[..., None], units)
        reach = terms.sum(-1) + unit * terms.abs().sum(-1)
        steep = torch.where(above > 0, (above - reach) / (root * above), least)
        gap = torch.full_like(least, -torch.inf)
        for place in (least, most, steep, (top - reach) / weight, (floor - reach) / weight):
            a = torch.minimum(torch.maximum(place, least), most)
            b = torch.maximum(torch.minimum(top, weight * a + reach), floor)
            gap = torch.maximum(gap, 1 / (1 + a) - 1 / (1 + b))
        best = torch.minimum(best, gap + unit)
    return torch.where(best <= 1, best, 1.0)


def _reach(raised: Range, ceiling: Tensor, between: Tensor, weight: Tensor, units: Tensor) -> Tensor:
    """Largest exp(b) - weight exp(a), rival by rival, rounded up."""
    found = torch.full_like(ceiling, -torch.inf)
    for place in (raised[0], ceiling - between):
        a = torch.minimum(torch.maximum(place, raised[0]), raised[1])
        rise = torch.minimum(ceiling - a, between).exp()
        found = torch.maximum(found, a.exp() * (rise * (1 + units) - weight * (1 - units)))
    return found
