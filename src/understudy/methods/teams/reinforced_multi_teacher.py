"""RMTS-KD: a policy learns which teachers to listen to, example by example (Yuan et al., arXiv 2012.06048, AAAI 2021).

For every example and teacher a policy tosses a coin; the student learns from the label and from those that were chosen,
and the policy is rewarded for how well the student then does on that example (REINFORCE). It is no part of the student.

    P_ik = sigmoid(w . s_ik + b)    s_ik = [x_i, softmax t_k(x_i), min(CE(t_k(x_i), y_i), 10)]: (D + C + 1,)
    L_i = a CE(s(x_i), y_i) + (1 - a) T^2 mean over the chosen k of KL(t_k(x_i) || s(x_i))      t_k, s: (B, C)
    loss of the policy: -(r_i - baseline) sum_k ln P(a_ik), baseline a moving average of r

The reward r_i, after the student's step: "labels" -CE; "both" -CE - mean KL; "validated" g (-CE - mean KL) +
(1 - g) the accuracy on a batch of examples kept apart.

Needs: two teachers or more (`--teacher "runs/a;runs/b"`), labels. Cost: every teacher at every example, one more
forward pass of the student; whole batches on one device.

Known failure: where nobody is chosen and the label alone is taught (empty="labels"), any teacher lowers the reward
"both", and the policy learns to choose nobody: hence "all", which then asks every teacher. Without a
warm-up the student's first answers tell the policy nothing, and it may end at choosing everybody for good.

Reconstructed: the equations are from summaries, the paper's text was not at hand. The logarithm of the probability is
followed, not the probability itself; each example has a reward of its own; the baseline, the learning rate, the length
of the warm-up and the input itself as the example's representation were chosen here. As in the paper all teachers
teach first; its pre-training of the policy with a resting student is left out.

Measured (examples/reinforced_multi_teacher.py: digits, three teachers that know the classes 0-2, 3-5 and 6-9 alone,
student mlp[32], 30 epochs, three seeds): a teacher is chosen for 0.993 of the examples that it knows and 0.002 of the
others, accuracy 0.959; with all teachers always 0.924; with rewards of the wrong sign 0.020 and 0.961, accuracy
0.865; with rewards of other examples 0.446 and 0.353, accuracy 0.930. With empty="labels" nobody is chosen (0.002 and
0.000) and accuracy is 0.956: from such teachers there is little to learn beyond the labels. Without the warm-up 0.996
and 0.335, accuracy 0.947: a seed of the three ends at choosing everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from understudy.data.batch import CLEAN, Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.models.look import answer_of, in_mode
from understudy.models.memo import Memo
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.chosen_teachers import (
    Empty,
    SelectionPolicy,
    chosen_divergence,
    each_teacher,
    log_probability,
    mean_of_chosen,
    policy_states,
    settle_empty,
)
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.partner import Partner, Turn
from understudy.sources.base import Cast, Source
from understudy.training.method import Method

CHOSEN, POLICY, VALIDATION = "chosen", "policy", "validation"
CLIP = 10.0  # nats of a teacher's loss, beyond which the policy sees no difference
Reward = Literal["labels", "both", "validated"]


def _states(batch: Batch, heads: Tensor) -> Tensor:
    if batch.labels is None:
        raise InputError("RMTS-KD needs labels, and the batch has none")
    return policy_states(batch.clean, heads, batch.labels, CLIP)


@dataclass(frozen=True)
class Choosing(Source):
    """Notes which teachers the policy chose, "chosen" (B, K) of 0 and 1; everybody before `warmup` of the run."""

    warmup: float = 0.0

    @torch.no_grad()
    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with that note."""
        if not isinstance(cast.teacher, Memo):
            raise InputError("choosing among teachers needs a teacher")
        heads = each_teacher(cast.teacher.view(batch.clean))
        scores = cast.partners[POLICY](_states(batch, heads))
        chosen = (random.uniform(scores, 0.0, 1.0) < scores.sigmoid()).to(heads.dtype)
        if batch.progress < self.warmup:
            chosen = torch.ones_like(chosen)
        return replace(batch, notes={**batch.notes, CHOSEN: chosen})


@dataclass(frozen=True, kw_only=True)
class Policy(Partner):
    """Learns, after the student's step, from how well the student then does on each example.

    Attributes:
        method: whose reward it earns.
    """

    method: ReinforcedMultiTeacher

    def build(self, batch: Batch, cast: Cast) -> nn.Module:
        """A linear policy over the states of this data and these teachers."""
        if not isinstance(cast.teacher, Memo):
            raise InputError("choosing among teachers needs a teacher")
        states = _states(batch, each_teacher(cast.teacher.view(batch.clean)))
        return SelectionPolicy(states.shape[2], self.method.baseline_decay)

    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        """{"policy": (N,)}; none while everybody teaches and there is nothing to learn."""
        assert isinstance(own, SelectionPolicy)
        if turn.batch.progress < self.method.warmup:
            return {}
        heads = each_teacher(turn.teacher[CLEAN])
        scores = own(_states(turn.batch, heads))
        log_p = log_probability(scores, turn.batch.notes[CHOSEN])
        return {"policy": -own.advantage(self.rewards(turn, heads)) * log_p}

    @torch.no_grad()
    def rewards(self, turn: Turn, heads: Tensor) -> Tensor:
        """r_i of each example, (N,), of the student as it is now."""
        method, student = self.method, turn.cast.student
        with in_mode(student, False):
            logits = answer_of(student(turn.batch.clean))
            reward = -label_loss(logits, turn.batch)
            if method.reward == "labels":
                return reward
            teaching = settle_empty(turn.batch.notes[CHOSEN], method.empty)
            reward = reward - chosen_divergence(heads, logits, teaching, method.temperature)
            if method.reward == "both":
                return reward
            held = turn.batch.parts[VALIDATION]
            assert held.labels is not None
            right = (answer_of(student(held.clean)).argmax(1) == held.labels).to(reward)
        return method.gamma * reward + (1 - method.gamma) * right.mean()


@dataclass(frozen=True, kw_only=True)
class ReinforcedMultiTeacher(Method):
    """Reinforced multi-teacher selection.

    Attributes:
        alpha: a, share of the label's term; at 1 neither teachers nor policy play a part.
        temperature: T, above 0.
        reward: what the policy earns, "labels", "both" or "validated".
        gamma: g, share of "both" in the reward "validated".
        validation: share of the training data that is kept apart for the reward "validated".
        empty: who teaches where nobody is chosen: "all", or "labels", whose term then counts in full.
        warmup: share of the run during which all teachers teach and the policy rests; at 1 they always do.
        policy_lr: learning rate of the policy (Adam).
        baseline_decay: share of the old average in the moving average of the reward, in [0, 1).
    """

    alpha: float = 0.5
    temperature: float = 1.0
    reward: Reward = "both"
    gamma: float = 0.5
    validation: float = 0.1
    empty: Empty = "all"
    warmup: float = 0.1
    policy_lr: float = 0.01
    baseline_decay: float = 0.9

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "soft": "elsewhere"}

    def __post_init__(self) -> None:
        for name in ("alpha", "gamma", "validation", "warmup", "baseline_decay"):
            check_number(name, getattr(self, name), 0.0, 1.0)
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("policy_lr", self.policy_lr, 0.0, above=True)
        for name, choices in (("reward", get_args(Reward)), ("empty", get_args(Empty))):
            if getattr(self, name) not in choices:
                raise unknown(name, str(getattr(self, name)), choices)
        if self.reward == "validated" and not 0 < self.validation < 1:
            raise InputError(
                f"the reward 'validated' needs a share of the data in (0, 1), found validation={self.validation}"
            )

    @property
    def needs(self) -> Needs:
        """Labels and every teacher's answer; examples kept apart for the reward "validated"."""
        held = self.validation if self.reward == "validated" else 0.0
        return Needs(labels=True, heads=("*",), validation=held)

    @property
    def partners(self) -> Mapping[str, Partner]:
        """The policy."""
        return {POLICY: Policy(lr=self.policy_lr, after=True, method=self)}

    def source(self, low: float, high: float) -> Source:
        """The data, with the teachers chosen for each example."""
        return Choosing(self.warmup)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard": (B,), "soft": (B,)}."""
        heads, teaching = self._teaching(teacher, batch)
        soft = chosen_divergence(heads, student.logits, teaching, self.temperature)
        hard = label_loss(student.logits, batch)
        alone = (teaching.sum(1) == 0).to(hard)  # the label's term has the weight of both
        share = self.alpha + (1 - self.alpha) * alone
        return {"hard": share * hard, "soft": (1 - self.alpha) * self.temperature**2 * soft}

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Nobody, one or several teachers, by the example's index."""
        heads = each_teacher(teacher[CLEAN])
        bits = batch.index[:, None] >> torch.arange(heads.shape[1], device=batch.index.device)
        return {CHOSEN: (bits & 1).to(heads.dtype)}

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """Logits of the mean of the confidences of those that teach."""
        heads, teaching = self._teaching(teacher, batch)
        return mean_of_chosen(heads, teaching, self.temperature)

    def _teaching(self, teacher: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        return each_teacher(teacher[CLEAN]), settle_empty(batch.notes[CHOSEN], self.empty)
