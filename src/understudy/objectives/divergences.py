"""How far apart two confidences are: exact divergences, one value an example.

Logits (B, C) in, values (B,) out; nothing is reduced and no factor is hidden. With p = softmax(t / T) and
q = softmax(s / T) of the teacher's and the student's logits, every divergence here is in nats (or a
difference of probabilities), is exactly 0 where the logits are equal, is never negative, and has a finite
value and gradient for confident models (any logits whose differences are finite). Half precision is computed
in float32; float64 stays float64. Gradient flows to whichever side asks for it.
A logit of minus infinity is outside the domain and gives NaN; `divergences_family` takes those, logits of any
number of dimensions, padded vocabularies, and mixtures of any weight.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError

_EXP_LIMIT = (
    80.0  # exp of it fits float32 with room to spare; exp of its negative is a probability of nothing
)
_WIDE = (torch.float32, torch.float64)
_NO_LABEL = -(2**63)  # cross-entropy must ignore no label: a stray -100 is an error, not a zero


def kl(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """KL(p || q) = sum_k p_k ln(p_k / q_k), in [0, inf) nats (Kullback and Leibler, 1951). No factor T^2.

    Gradients are (q - p) / T to the student and p (ln(p / q) - KL) / T to the teacher. Relative precision
    holds near equality too, where the usual sum of signed terms is lost in rounding.

    Raises:
        InputError: shapes that differ or are not (B, C), logits that are not floats, T not above 0.
    """
    return _KL.apply(*_pair(teacher_logits, student_logits, temperature))


def reverse_kl(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """KL(q || p), in [0, inf) nats: `kl` with the student as the reference. Raises as `kl` does."""
    t, s = _pair(teacher_logits, student_logits, temperature)
    return _KL.apply(s, t)


def js(
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    temperature: float = 1.0,
    weight: float = 0.5,
) -> Float[Tensor, " b"]:
    """w KL(p || m) + (1 - w) KL(q || m), m = w p + (1 - w) q, w = `weight`, the teacher's share (Lin, 1991).

    In [0, -w ln w - (1 - w) ln(1 - w)] nats, at most ln 2, which it has at w = 1/2.

    Raises:
        InputError: a weight outside (0, 1), and as `kl` does.
    """
    if not 0.0 < weight < 1.0:
        raise InputError(
            f"the weight of a Jensen-Shannon divergence must lie between 0 and 1, found {weight}"
        )
    log_p, log_q = (z.log_softmax(1) for z in _pair(teacher_logits, student_logits, temperature))
    # ln(p / m) and ln(q / m) from the ratio alone are exactly 0 at equality. Beyond the limit the smaller
    # probability, which multiplies the clamped logarithm, is below 1e-34.
    ratio = (log_q - log_p).clamp(-_EXP_LIMIT, _EXP_LIMIT)
    over_p = -torch.log1p((1.0 - weight) * torch.expm1(ratio))
    over_q = -torch.log1p(weight * torch.expm1(-ratio))
    value = (weight * log_p.exp() * over_p + (1.0 - weight) * log_q.exp() * over_q).sum(1)
    return _within(value, -weight * math.log(weight) - (1.0 - weight) * math.log1p(-weight))


def total_variation(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """1/2 sum_k |p_k - q_k|, in [0, 1]: the most by which an event's probability differs. Raises as `kl`."""
    t, s = _pair(teacher_logits, student_logits, temperature)
    return _within(0.5 * (t.softmax(1) - s.softmax(1)).abs().sum(1), 1.0)


def max_gap(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], temperature: float = 1.0
) -> Float[Tensor, " b"]:
    """max_k |p_k - q_k|, in [0, 1]: the difference that D(x) maximises (Lamb et al., arXiv 2306.04431).

    At most the total variation, hence at most sqrt(KL / 2) (Pinsker). Raises as `kl` does.
    """
    t, s = _pair(teacher_logits, student_logits, temperature)
    return _within((t.softmax(1) - s.softmax(1)).abs().amax(1), 1.0)


def entropy(logits: Float[Tensor, "b c"], temperature: float = 1.0) -> Float[Tensor, " b"]:
    """-sum_k p_k ln p_k, in [0, ln C] nats (Shannon, 1948). Raises as `kl` does."""
    log_p = _wide(logits, temperature).log_softmax(1)
    return (log_p.exp() * -log_p).sum(1)


def cross_entropy(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """-ln softmax(logits)_label, in [0, inf) nats, of labels (B,) in 0..C-1.

    Raises:
        InputError: a label outside 0..C-1, as many labels as examples missing, and as `kl` does. (On CUDA a
            label out of range is the device's own assertion: a check here would wait for it every step.)
    """
    wide = _wide(logits, 1.0)
    if labels.shape != wide.shape[:1]:
        raise InputError(
            f"{len(wide)} examples need labels of shape ({len(wide)},), found {tuple(labels.shape)}"
        )
    try:
        return F.cross_entropy(wide, labels.long(), reduction="none", ignore_index=_NO_LABEL)
    except IndexError as error:
        raise InputError(f"labels must lie in 0..{wide.shape[1] - 1}: {error}") from error


class _KL(torch.autograd.Function):
    """KL with its gradient in closed form: exact zeros at equality, fewer steps than autograd would take."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, s: Tensor) -> Tensor:
        p, log_ratio, difference = _compare(t, s)
        ctx.save_for_backward(t, s, p, log_ratio, difference)
        # sum_k (q - p - p ln(q / p)) is KL, since q - p sums to 0, and no term is negative: ln u <= u - 1.
        # The clamp is for rounding only; it does not touch the gradient.
        return torch.addcmul(difference, p, log_ratio, value=-1.0).sum(1).clamp_min(0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        t, s, p, log_ratio, difference = ctx.saved_tensors
        # A second derivative is wanted: the way from the logits must be on the graph.
        if torch.is_grad_enabled():
            p, log_ratio, difference = _compare(t, s)
        upstream = grads[0].unsqueeze(1)
        to_teacher = to_student = None
        if ctx.needs_input_grad[0]:
            to_teacher = ((p * log_ratio).sum(1, keepdim=True) - log_ratio) * p * upstream
        if ctx.needs_input_grad[1]:
            to_student = difference * upstream
        return to_teacher, to_student


def _compare(t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p, ln(q / p) and q - p, each (B, C). q - p = (p + q) tanh(ln(q / p) / 2) loses no digits."""
    log_p, log_q = t.log_softmax(1), s.log_softmax(1)
    p, log_ratio = log_p.exp(), log_q - log_p
    return p, log_ratio, torch.tanh(0.5 * log_ratio) * (p + log_q.exp())


def _within(value: Tensor, high: float) -> Tensor:
    """`value` with what rounding put outside [0, high] moved to the edge, and its gradient left alone."""
    plain = value.detach()
    return value + (plain.clamp(0.0, high) - plain)


def _pair(t: Tensor, s: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Both logits divided by T, in one type of at least float32."""
    if t.shape != s.shape:
        raise InputError(
            "teacher and student logits must have the same shape (B, C), "
            f"found {tuple(t.shape)} and {tuple(s.shape)}"
        )
    t, s = _wide(t, temperature), _wide(s, temperature)
    return (t, s) if t.dtype == s.dtype else (t.double(), s.double())


def _wide(logits: Tensor, temperature: float) -> Tensor:
    """The logits divided by T, in at least float32."""
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise InputError(f"logits must have the shape (B, C), found {tuple(logits.shape)}")
    if logits.dtype not in _WIDE:
        if not logits.is_floating_point():
            raise InputError(f"logits must be floats, found {logits.dtype}")
        logits = logits.float()
    if temperature == 1.0:
        return logits
    if not 0.0 < temperature < math.inf:
        raise InputError(f"temperature must be a finite number above 0, found {temperature}")
    return logits / temperature
