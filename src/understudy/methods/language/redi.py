"""REDI: reinforcement distillation from good and bad traces (Xu et al., arXiv 2505.24850, 2025).

A teacher's wrong attempts say something too. After fine-tuning on its right traces the student goes on with pairs: the
right trace is made likelier, the wrong one unlikelier, and the push down is weaker than the pull up.

    stage 1   -1/|y_w| log s(y_w | x)                                  (`sft`)
    stage 2   -1/|y_w| log s(y_w | x) + alpha 1/|y_l| log s(y_l | x)   y_w: right, y_l: wrong trace, of |y| tokens each

log s(y | x) sums over the trace's own tokens, the end token among them; every trace weighs the same however long it
is, and the mean is over pairs. This class is stage 2; start it from stage 1 (`--model RUN`), at a learning rate of
about a fiftieth. alpha = 0 is `sft` on the right traces; alpha = 1 is the symmetric loss, to whose gradient SimPO's
tends as its beta goes to 0. gamma > 0 multiplies the wrong trace's term by exp(gamma log s(y_l | x) / |y_l|), which is
not held fixed; the paper leaves it at 0.

Needs traces alone, a right and a wrong one of each problem: rows of prompt, good and bad (`data.traces`, which also
divides verified attempts into both stages' data). No teacher at hand, no reference model, nothing is generated. Cost:
two forward and backward passes. Known failure: there is no lowest value, since a wrong trace can be made unlikelier
without end, and right and wrong share their beginnings. Collapse shows as `loss_good` rising while the loss falls: stop
there, or take a smaller alpha or learning rate. Reconstructed: from the paper and the official loss. Not here: its
linear schedule with warm-up (cosine is), and tuned DPO and SimPO, its rivals.

Measured (`examples/redi.py`: columns of three digits and their carries, a program as the teacher with 40 % of attempts
wrong by one carry; lm[2,48,4], 1206 right attempts, 419 pairs, stage 2 at lr/50; seeds 0, 1, 2): no gain. New sums
right after stage 1: .995, .415, .969; after stage 2 with alpha = 0.8: .907, .373, .974, with alpha = 0: .995, .430,
.974, with right and wrong swapped: .902, .005, .953. The push does what it says (log s a token of new wrong attempts
-2.32, -1.97, -1.99, with alpha = 0 -2.15, -1.84, -1.85, so they were unlikely already), and takes the right ones along
(-.038, -.266, -.015 and -.007, -.247, -.014). With ten times the rate alpha = 1 collapses (right .503, .124, .352; log
s of right attempts -.21, -.56, -.67) and alpha = 0.8 less so (.653, .233, .725). With stage 1 cut short (`--epochs 12`,
seeds 0, 1) alpha = 0.8 gives .938, .212, alpha = 0 .959, .218.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.data.traces import BAD
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.tokens import mask_of, next_token_loss
from understudy.training.method import Method


def pushed_away(bad: Float[Tensor, " b"], alpha: float, gamma: float = 0.0) -> Float[Tensor, " b"]:
    """The term of wrong traces, 0 or less, given their -log s(y_l | x) / |y_l| in nats: (B,) -> (B,)."""
    weight = 1.0 if gamma == 0 else (-gamma * bad).exp()
    return -alpha * weight * bad


@dataclass(frozen=True, kw_only=True)
class REDI(Method):
    """Reinforcement distillation, stage 2.

    Attributes:
        alpha: weight of the push away from wrong traces, in [0, 1].
        gamma: how fast that push fades as they become unlikely; 0 does not fade.
    """

    alpha: float = 0.8
    gamma: float = 0.0

    needs = Needs(student=(CLEAN, BAD), teacher=(), labels=True, tokens=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"good": "right label", "bad": "right label, turned"}

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("gamma", self.gamma, 0.0)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"good", "bad"}: (B,) each."""
        good, bad = (
            next_token_loss(student[name].logits, batch.views[name], mask_of(batch, name))
            for name in (CLEAN, BAD)
        )
        return {"good": good, "bad": pushed_away(bad, self.alpha, self.gamma)}
