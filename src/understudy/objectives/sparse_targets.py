"""Cross-entropy to sparse soft targets: a teacher of whom a few classes a unit were kept.

Sparse Logit Sampling (Anshumann et al., arXiv 2503.16870). With w (B, K) the probabilities kept of classes i (B, K),
all others being 0, and q = softmax(s / T) of the student's logits (B, C):

    cross-entropy  - sum_k w_k ln q_{i_k}                 gradient to s:  ((sum_k w_k) q - w) / T
    KL             sum_k w_k ln (w_k / q_{i_k})           the same gradient; 0 ln 0 = 0

The gradient is linear in w: where E[w] = t (random sampling) its mean is q - t, that of all logits. Where w is t on
the k likeliest classes it is not, and no factor mends it.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def sparse_cross_entropy(
    student_logits: Float[Tensor, "b c"],
    indices: Int[Tensor, "b k"],
    probabilities: Float[Tensor, "b k"],
    temperature: float = 1.0,
) -> Float[Tensor, " b"]:
    """- sum_k w_k ln q_{i_k}, at least 0, in nats; half precision is computed in float32. No factor T^2.

    Args:
        student_logits: s (B, C).
        indices: i (B, K) classes; one that occurs twice in a row counts twice.
        probabilities: w (B, K), of sum 1 or not; filling has w = 0. They are data: no gradient flows to them.
        temperature: T, at which the teacher's probabilities must have been computed.

    Raises:
        InputError: shapes that do not fit, T not above 0, and (on the CPU, where looking costs nothing) a class outside
            0..C-1 or a probability that is negative or not finite.
    """
    _check(student_logits, indices, probabilities, temperature)
    wide = student_logits if student_logits.dtype == torch.float64 else student_logits.float()
    return _CrossEntropy.apply(wide, indices, probabilities.detach().to(wide.dtype), temperature)


def sparse_kl(
    student_logits: Float[Tensor, "b c"],
    indices: Int[Tensor, "b k"],
    probabilities: Float[Tensor, "b k"],
    temperature: float = 1.0,
) -> Float[Tensor, " b"]:
    """sum_k w_k ln(w_k / q_{i_k}) nats: `sparse_cross_entropy` less the entropy of w, with the same gradient.

    At least 0 (but for rounding) where w sums to 1; below it can fall under 0. A class must not occur twice in a row
    with w above 0: its logarithm is of the sum. Raises as `sparse_cross_entropy` does.
    """
    cross = sparse_cross_entropy(student_logits, indices, probabilities, temperature)
    return cross - torch.special.entr(probabilities.detach().to(cross.dtype)).sum(1)


class _CrossEntropy(torch.autograd.Function):
    """One pass over the logits each way, and nothing of their size kept but the logits themselves."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, indices: Tensor, w: Tensor, temperature: float) -> Tensor:
        total = _log_sum(s, temperature)
        ctx.save_for_backward(s, indices, w, total)
        ctx.temperature = temperature
        return (w * (total - s.gather(1, indices) / temperature)).sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        s, indices, w, total = ctx.saved_tensors
        upstream = grads[0][:, None] / ctx.temperature
        if (
            torch.is_grad_enabled()
        ):  # a second derivative is wanted: the way from the logits must be on the graph
            q = (s / ctx.temperature - _log_sum(s, ctx.temperature)).exp()
            return (q * w.sum(1, keepdim=True) * upstream).scatter_add(1, indices, -w * upstream), *(
                None,
            ) * 3
        q = (s if ctx.temperature == 1.0 else s / ctx.temperature).sub(total).exp_()
        q.mul_(w.sum(1, keepdim=True) * upstream)
        return q.scatter_add_(1, indices, -w * upstream), None, None, None


def _log_sum(s: Tensor, temperature: float) -> Tensor:
    """ln sum_c exp(s_c / T): (B, 1)."""
    return (s if temperature == 1.0 else s / temperature).logsumexp(1, keepdim=True)


def _check(logits: Tensor, indices: Tensor, probabilities: Tensor, temperature: float) -> None:
    if logits.ndim != 2 or logits.shape[1] == 0 or not logits.is_floating_point():
        raise InputError(f"logits must be floats (B, C), found {logits.dtype} of shape {tuple(logits.shape)}")
    if indices.ndim != 2 or indices.shape != probabilities.shape or len(indices) != len(logits):
        raise InputError(
            f"{len(logits)} units need indices and probabilities of one shape ({len(logits)}, K), found "
            f"{tuple(indices.shape)} and {tuple(probabilities.shape)}"
        )
    if not 0.0 < temperature < float("inf"):
        raise InputError(f"temperature must be a finite number above 0, found {temperature}")
    if indices.device.type != "cpu" or indices.numel() == 0 or torch.compiler.is_compiling():
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= logits.shape[1]:
        raise InputError(f"classes must lie in 0..{logits.shape[1] - 1}, found {low}..{high}")
    if not (float(probabilities.min()) >= 0.0 and float(probabilities.max()) < float("inf")):
        raise InputError("probabilities must be finite and at least 0, found NaN, infinity or a negative one")
