"""What distillation does to each example's weight: its difficulty, and the rescaling of its gradient.

Tang et al., Understanding and improving knowledge distillation, arXiv 2002.03532. With p and q the teacher's and the
student's softmax, t the true class and the loss (1 - lambda) CE(y, q) + lambda CE(p~, q~), p~ and q~ at temperature T,
the gradient at the true class's logit is omega times that of the cross-entropy with the label alone:

    omega = (1 - lambda) + lambda / T * (p~_t - q~_t) / (1 - q_t),    at T = 1:  1 - lambda (1 - p_t) / (1 - q_t)

so that examples which the teacher finds easier than the student does weigh more. A factor T^2 on the second loss is a
factor T^2 on its lambda here. Exact, of one example each: no estimate, no bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_labelled, check_pair
from understudy.numbers import check_number


@dataclass(frozen=True)
class Rescaling:
    """One value an example (B,); float64 and bool.

    teacher_confidence, student_confidence: p_t and q_t, of the true class at T = 1, in [0, 1]; the first is the
        teacher's word on how easy the example is.
    omega: at most 1 (at T = 1) and unbounded below; under 0 where distillation pushes the true logit down.
    gradient_ratio: sum_k of |gradient| at the student's logits, over the same of cross-entropy alone, 0 or more. It is
        omega where no wrong class is asked to rise (q_k not below what the loss aims at), else more.
    teacher_right, student_right: whether the true class is the top one; a tie goes to the lowest class.
    """

    teacher_confidence: Float[Tensor, " b"]
    student_confidence: Float[Tensor, " b"]
    omega: Float[Tensor, " b"]
    gradient_ratio: Float[Tensor, " b"]
    teacher_right: Bool[Tensor, " b"]
    student_right: Bool[Tensor, " b"]


def rescaling(
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    *,
    mixing: float = 0.5,
    temperature: float = 1.0,
) -> Rescaling:
    """`Rescaling` of logits (B, C) and labels (B,); `mixing` is lambda, in [0, 1].

    Raises:
        InputError: no example, one class only, shapes that differ, a logit that is not finite, labels that do not fit,
            lambda or T out of range, or a student so sure of the true class that the ratio overflows.
    """
    check_number("the weight of the teacher's answers", mixing, 0.0, 1.0)
    check_number("the temperature", temperature, 0.0, above=True)
    check_pair(teacher_logits, student_logits)
    check_labelled(student_logits, labels)
    if student_logits.shape[1] < 2:
        raise InputError("with one class there is no wrong one, and no gradient to rescale")
    t, s = teacher_logits.detach().double(), student_logits.detach().double()
    true = labels.long().unsqueeze(1)
    wrong_q = _log_wrong(s, true)
    soft_q, soft_p = _log_wrong(s / temperature, true), _log_wrong(t / temperature, true)
    step = mixing / temperature
    # by ratios of the wrong classes' shares: 1 - q_t itself loses its digits where the student is sure
    omega = (1.0 - mixing) + step * ((soft_q - wrong_q).exp() - (soft_p - wrong_q).exp())
    on_wrong = (1.0 - mixing) * s.log_softmax(1).sub(wrong_q.unsqueeze(1)).exp()
    for logits, sign in ((s, step), (t, -step)):
        on_wrong += sign * (logits / temperature).log_softmax(1).sub(wrong_q.unsqueeze(1)).exp()
    on_wrong = on_wrong.scatter(1, true, 0.0).abs().sum(1)
    ratio = (omega.abs() + on_wrong) / 2.0
    if not (torch.isfinite(omega).all() and torch.isfinite(ratio).all()):
        row = int((~(torch.isfinite(omega) & torch.isfinite(ratio))).nonzero()[0, 0])
        raise InputError(f"the student is too sure of example {row}'s label for a ratio of gradients")
    p, q = (z.softmax(1).gather(1, true).squeeze(1) for z in (t, s))
    return Rescaling(p, q, omega, ratio, t.argmax(1) == labels, s.argmax(1) == labels)


class EpochsWrong:
    """How hard each of N examples is: in how many passes it was answered wrongly. Two whole numbers an example."""

    def __init__(self, examples: int) -> None:
        if examples < 1:
            raise InputError(f"difficulty needs one example at least, found {examples}")
        self.wrong = torch.zeros(examples, dtype=torch.int64)
        self.seen = torch.zeros(examples, dtype=torch.int64)

    def update(
        self, indices: Int[Tensor, " b"], logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]
    ) -> None:
        """Takes in a batch: the examples' places (B,) in 0..N-1, a model's logits (B, C), labels (B,).

        Raises:
            InputError: places out of range or another number of them, and as `top1_correct`.
        """
        check_labelled(logits, labels)
        if indices.shape != labels.shape or indices.min() < 0 or indices.max() >= len(self.wrong):
            raise InputError(f"{len(labels)} examples need as many places in 0..{len(self.wrong) - 1}")
        at = indices.long().cpu()
        self.wrong.index_add_(0, at, (logits.argmax(1) != labels).long().cpu())
        self.seen.index_add_(0, at, torch.ones_like(at))

    def share(self) -> Float[Tensor, " n"]:
        """wrong / seen of each example (N,), in [0, 1]; InputError if one has never been seen."""
        if (self.seen == 0).any():
            raise InputError(f"example {int((self.seen == 0).nonzero()[0, 0])} has never been answered")
        return self.wrong.double() / self.seen


def rank_correlation(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> float | None:
    """Spearman's rho (1904), in [-1, 1], of two values an example (N,); equal values share their mean rank.

    Biased towards 0 by order 1 / N. Of the teacher's confidence and `EpochsWrong.share` it tells whether the teacher
    knows what is hard: near -1 if it does. None where one of the two has one value only.

    Raises:
        InputError: fewer than two examples, numbers that differ, or values that are not finite.
    """
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise InputError(
            f"a correlation needs two values of 2 examples or more, found {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise InputError("values to correlate must be finite")
    from scipy.stats import rankdata

    ranks = [torch.from_numpy(rankdata(v.detach().double().cpu().numpy())) for v in (first, second)]
    a, b = (r - r.mean() for r in ranks)
    lengths = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / lengths)) if lengths else None


def _log_wrong(logits: Tensor, true: Tensor) -> Tensor:
    """ln(1 - softmax at the true class) (B,): of the wrong classes' sum, without a difference."""
    return logits.scatter(1, true, -torch.inf).logsumexp(1) - logits.logsumexp(1)
