"""Several teachers, some of them chosen for each example, and the policy that chooses by what it earned."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.outputs import View
from understudy.objectives.divergences import cross_entropy, kl

Empty = Literal["all", "labels"]


def each_teacher(said: View) -> Float[Tensor, "b k c"]:
    """Every teacher's logits in at least float32, in the team's order: (B, K, C).

    Raises:
        InputError: there is one answer only.
    """
    if not said.heads:
        raise InputError("choosing among teachers needs several: name two of them at least")
    heads = torch.stack(tuple(said.heads.values()), 1)
    return heads.to(torch.promote_types(heads.dtype, torch.float32))


def policy_states(
    inputs: Shaped[Tensor, "b ..."], heads: Float[Tensor, "b k c"], labels: Int[Tensor, " b"], clip: float
) -> Float[Tensor, "b k f"]:
    """What the policy sees of an example and a teacher: (B, K, D + C + 1).

    The input's D values, the teacher's confidences, and its cross-entropy to the label, at most `clip` nats.
    """
    count = heads.shape[1]
    seen = inputs.flatten(1)[:, None].expand(-1, count, -1).to(heads.dtype)
    loss = cross_entropy(heads.flatten(0, 1), labels.repeat_interleave(count)).clamp(max=clip)
    return torch.cat([seen, heads.softmax(2), loss.view(-1, count, 1)], 2)


def log_probability(scores: Float[Tensor, "b k"], chosen: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """ln of the probability that exactly these teachers are chosen, each by itself with sigmoid(score): (B,)."""
    return -F.binary_cross_entropy_with_logits(scores, chosen.to(scores), reduction="none").sum(1)


def settle_empty(chosen: Float[Tensor, "b k"], empty: Empty) -> Float[Tensor, "b k"]:
    """Who teaches: the chosen, and with "all" every teacher where nobody was chosen."""
    if empty == "labels":
        return chosen
    return torch.where(chosen.sum(1, keepdim=True) > 0, chosen, torch.ones_like(chosen))


def chosen_divergence(
    heads: Float[Tensor, "b k c"],
    student_logits: Float[Tensor, "b c"],
    teaching: Float[Tensor, "b k"],
    temperature: float = 1.0,
) -> Float[Tensor, " b"]:
    """Mean of KL(teacher || student) over the teachers that teach, nats; 0 where nobody does."""
    count = heads.shape[1]
    student = student_logits[:, None].expand(-1, count, -1)
    each = kl(heads.flatten(0, 1), student.flatten(0, 1), temperature).view(-1, count)
    return (teaching.to(each) * each).sum(1) / teaching.sum(1).clamp(min=1).to(each)


def mean_of_chosen(
    heads: Float[Tensor, "b k c"], teaching: Float[Tensor, "b k"], temperature: float = 1.0
) -> Float[Tensor, "b c"]:
    """Logits at which `chosen_divergence` is lowest: T ln of the mean of their confidences at T."""
    share = teaching.to(heads) / teaching.sum(1, keepdim=True).clamp(min=1).to(heads)
    logs = (heads / temperature).log_softmax(2) + share.log()[:, :, None]
    return temperature * torch.where(teaching.sum(1, keepdim=True) > 0, logs.logsumexp(1), heads[:, 0])


class SelectionPolicy(nn.Module):
    """One linear score for all teachers, 0 at first (each is chosen one time in two), and the usual reward.

    Args:
        features: length F of a state.
        decay: share of the old average in the moving average of the reward, in [0, 1).
    """

    baseline: Tensor
    seen: Tensor

    def __init__(self, features: int, decay: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.decay = decay
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, states: Float[Tensor, "b k f"]) -> Float[Tensor, "b k"]:
        """Scores, whose sigmoid is the probability that a teacher is chosen."""
        return self.linear(states.to(self.linear.weight.dtype)).squeeze(2)

    @torch.no_grad()
    def advantage(self, rewards: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """How much better than usual each reward is; the usual then moves on. At first it is the batch's mean."""
        mean = rewards.mean().to(self.baseline)
        usual = torch.where(self.seen > 0, self.baseline, mean)
        self.baseline.copy_(self.decay * usual + (1 - self.decay) * mean)
        self.seen.add_(1)
        return rewards - usual.to(rewards)
