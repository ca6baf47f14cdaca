"""The mathematics of the divergence family on rows of probabilities: values and slopes, in closed form.

Everything but total variation is made of one thing, with u_k = w + (1 - w) q_k / p_k,

    K_w(p, q) = KL(p || w p + (1 - w) q) = sum_k (1 - w) (q_k - p_k) - p_k ln u_k

since q - p sums to 0. So written no term is negative and each is exactly 0 where p_k = q_k, and a class that
neither side can give (a logit of minus infinity) adds exactly 0. All need p, q and ln(q / p) only: (..., C),
in float32 or float64.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.errors import InputError, unknown
from understudy.numbers import check_number

Kind = Literal["forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation"]
"""Teacher p, student q; w is `weight`:

forward_kl        KL(p || q)
reverse_kl        KL(q || p)
jsd               w KL(p || m) + (1 - w) KL(q || m), m = w p + (1 - w) q (GKD, arXiv 2306.13649: w is its beta)
skew_forward_kl   KL(p || w p + (1 - w) q) (DistiLLM, arXiv 2402.03898: w is its alpha)
skew_reverse_kl   KL(q || (1 - w) p + w q)
total_variation   1/2 sum_k |p_k - q_k|
"""

_WEIGHED = {"jsd": "GKD's beta", "skew_forward_kl": "DistiLLM's alpha", "skew_reverse_kl": "DistiLLM's alpha"}
_EXP_LIMIT = 80.0  # exp of it fits float32; what is e^80 times likelier for one side is nothing to the other


def resolve(kind: str, weight: float | None) -> tuple[Kind, float]:
    """A kind and weight that the functions below take: a jsd of weight 0 or 1 becomes the KL that it means.

    Raises:
        InputError: an unknown kind, a weight that is missing, not wanted, or outside [0, 1].
    """
    for known in get_args(Kind):
        if kind == known:
            break
    else:
        raise unknown("divergence", kind, get_args(Kind))
    if known not in _WEIGHED:
        if weight is not None:
            raise InputError(f"{kind} takes no weight, found {weight}; {', '.join(_WEIGHED)} do")
        return known, 0.0
    if weight is None:
        raise InputError(f"{kind} needs a weight in [0, 1]: {_WEIGHED[kind]}")
    check_number(f"the weight of {kind} ({_WEIGHED[kind]})", weight, 0.0, 1.0)
    if known == "jsd" and weight in (0.0, 1.0):
        return ("reverse_kl" if weight else "forward_kl"), 0.0
    return known, float(weight)


def mirror(kind: Kind, weight: float) -> tuple[Kind, float]:
    """The same divergence with teacher and student exchanged."""
    mirrors: dict[Kind, Kind] = {
        "forward_kl": "reverse_kl",
        "reverse_kl": "forward_kl",
        "skew_forward_kl": "skew_reverse_kl",
        "skew_reverse_kl": "skew_forward_kl",
    }
    return mirrors.get(kind, kind), 1.0 - weight if kind == "jsd" else weight


def ceiling(kind: Kind, weight: float) -> float:
    """The most that the divergence can be, reached where p and q have no class in common."""
    if kind == "total_variation":
        return 1.0
    if kind == "jsd":
        return -weight * math.log(weight) - (1.0 - weight) * math.log1p(-weight)
    return -math.log(weight) if weight else math.inf


def probabilities(t: Tensor, s: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """p, q and ln(q / p) of two logits (..., C), in the wider type and at least in float32.

    The logarithm is a difference of logits less a constant a row, so it is exactly 0 at equality and loses
    little near it. It is infinite where one logit is minus infinity, 0 where both are. (Where a logit is NaN
    it is 0 too, but p or q are NaN.)
    """
    wide = torch.promote_types(torch.promote_types(t.dtype, s.dtype), torch.float32)
    t, s = (z.to(wide) if temperature == 1.0 else z.to(wide) / temperature for z in (t, s))
    t, s = (z - z.detach().amax(-1, keepdim=True) for z in (t, s))
    p, q = t.exp(), s.exp()
    p_total, q_total = p.sum(-1, keepdim=True), q.sum(-1, keepdim=True)
    ratio = (s - t) - (q_total.log() - p_total.log())
    return p / p_total, q / q_total, torch.nan_to_num(ratio, nan=0.0, posinf=torch.inf, neginf=-torch.inf)


def compare(
    kind: Kind, weight: float, p: Tensor, q: Tensor, ratio: Tensor, *, slope: bool
) -> tuple[Tensor, Tensor | None]:
    """The divergence of each row (...), in [0, ceiling], and with `slope` its derivative in the logits of q."""
    if kind == "jsd":  # the linear parts of the two K cancel
        raw = (weight - 1.0) * _times_log_mixture(q, -ratio, 1.0 - weight)
        part = torch.sub(raw, _times_log_mixture(p, ratio, weight), alpha=weight)
    else:
        difference = torch.tanh(0.5 * ratio) * (p + q)  # q - p, with all its digits where they are close
        if kind == "total_variation":
            part, raw = 0.5 * difference.abs(), 0.5 * q * difference.sign()
        elif kind in ("forward_kl", "skew_forward_kl"):
            part = (1.0 - weight) * difference if weight else difference
            part = part - _times_log_mixture(p, ratio, weight)
            raw = (1.0 - weight) ** 2 * _share(q, p, weight) * difference if weight and slope else difference
        else:
            raw = -_times_log_mixture(q, -ratio, weight)
            part = torch.sub(raw, difference, alpha=1.0 - weight)
            if weight and slope:
                raw = raw - weight * (1.0 - weight) * _share(q, p, 1.0 - weight) * difference
    value = part.sum(-1).clamp(0.0, ceiling(kind, weight))
    if not slope:
        return value, None
    if kind == "forward_kl":
        return value, raw
    # The derivatives in the probabilities q, times q, become those in its logits. (Those above sum to 0.)
    return value, torch.addcmul(raw, q, raw.sum(-1, keepdim=True), value=-1.0)


def _times_log_mixture(p: Tensor, ratio: Tensor, w: float) -> Tensor:
    """p ln(w + (1 - w) q / p), exactly 0 where p = q or p = 0."""
    if w == 0.0:  # 0 times infinity, where p is 0, is 0
        return torch.nan_to_num(p * ratio, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    ratio = ratio.clamp_max(_EXP_LIMIT)
    if w >= 0.5:
        return p * torch.log1p((1.0 - w) * torch.expm1(ratio))
    # 1 - w may round to 1, so far below equality the sum is written without a difference.
    near = torch.log1p((1.0 - w) * torch.expm1(ratio.clamp_min(-1.0)))
    far = torch.log(w + (1.0 - w) * torch.exp(ratio.clamp_max(-1.0)))
    return p * torch.where(ratio > -1.0, near, far)


def _share(q: Tensor, p: Tensor, w: float) -> Tensor:
    """q / (w p + (1 - w) q), 0 where both are 0."""
    return q / (w * p + (1.0 - w) * q).clamp_min(torch.finfo(q.dtype).tiny)
