"""How the teachers and students of `attention_and_fidelity` learn: what they are shown, and by which loss.

Guo et al., arXiv 2405.00739. Everything is shown warped, weakly or strongly; a student and its teachers the same view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.data.mixing import cutout
from understudy.data.randomness import Randomness
from understudy.data.warp import warp
from understudy.methods.robust.ce import CE
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import MAP, Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.objectives.explanations import grad_cam, unlike
from understudy.sources import Source
from understudy.sources.base import Cast
from understudy.training.method import Method

Strength = Literal["weak", "strong"]
# degrees, scale, share of the side that it is moved by, side of the hole
_STRENGTHS: Mapping[str, tuple[float, float, float, float]] = {
    "weak": (10.0, 0.1, 0.06, 0.0),
    "strong": (25.0, 0.2, 0.1, 0.3),
}


@dataclass(frozen=True)
class Warped(Source):
    """Replaces the clean view by a warped one: "weak", or "strong", which cuts a hole out as well."""

    strength: Strength
    fill: float = 0.0

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch whose clean view, images (B, C, H, W), is warped."""
        degrees, scale, share, hole = _STRENGTHS[self.strength]
        pixels = share * min(batch.clean.shape[-2:])
        images = warp(batch.clean, random, degrees, scale, pixels, self.fill)
        return batch.with_view(CLEAN, cutout(images, random, hole, self.fill) if hole else images)


@dataclass(frozen=True, kw_only=True)
class Shown(Method):
    """A method that is shown warped images."""

    shown: Strength = "weak"

    def source(self, low: float, high: float) -> Source:
        """The augmented data; what comes in at the border is the lowest value."""
        return Warped(self.shown, low)


@dataclass(frozen=True, kw_only=True)
class Labelled(Shown, CE):
    """A teacher's training: the labels alone."""


@dataclass(frozen=True, kw_only=True)
class Steered(Shown):
    """A second teacher that learns to look where the first one does, or elsewhere.

        CE(s(x), y) + w (1 - cos(G_t, G_s))        G = ReLU(sum_d a_d F_d), a_d = mean over places of dz_y / dF_d

    The first is the frozen teacher t; the maps are both models' Grad-CAM for the label y, which for a linear head on
    the features' mean are the class activation maps, cut off at 0.

    Attributes:
        weight: w; above 0 the maps are drawn together, below 0 driven apart.
    """

    weight: float = 1.0

    second_order: ClassVar[bool] = True
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        check_number("the weight's size", abs(self.weight), 0.0)

    @property
    def needs(self) -> Needs:
        """Both models' last maps, with the graph to their logits; labels."""
        return Needs(labels=True, features=(MAP,), teacher_grad=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "maps"}: (B,) each."""
        assert batch.labels is not None
        first = grad_cam(teacher.logits, teacher.features[MAP], batch.labels)
        own = grad_cam(student.logits, student.features[MAP], batch.labels, keep_graph=True)
        return {"hard": label_loss(student.logits, batch), "maps": self.weight * unlike(own, first)}


@dataclass(frozen=True, kw_only=True)
class TeamKD(Shown):
    """Distillation from several teachers.

        alpha CE(z_s, y) + (1 - alpha) T^2 (1 / M) sum_m KL(softmax(z_m / T) || softmax(z_s / T))

    Attributes:
        temperature: T, above 0.
        alpha: share of the labels, in [0, 1].
        standardised: whether all logits are z-scored first (Sun et al., arXiv 2403.01427).
    """

    temperature: float = 3.0
    alpha: float = 0.6
    standardised: bool = False

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "soft": "elsewhere"}

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """Every member of the team; labels unless alpha = 0."""
        return Needs(heads=("*",), labels=self.alpha > 0)

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """T ln of the mean of the members' tempered confidences, where "soft" is least if nothing is z-scored."""
        said = torch.stack([head / self.temperature for head in teacher[CLEAN].heads.values()])
        return self.temperature * said.softmax(2).mean(0).log()

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if alpha > 0."""
        members, own = [*teacher[CLEAN].heads.values()], student.logits
        if self.standardised:
            members, own = [z_scored(one) for one in members], z_scored(own)
        apart = sum((kl(one, own, self.temperature) for one in members), own.new_zeros(len(own)))
        terms = {"soft": (1 - self.alpha) * self.temperature**2 / len(members) * apart}
        if self.alpha:
            terms["hard"] = self.alpha * label_loss(student.logits, batch)
        return terms


def z_scored(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """(z - mean) / (std + 1e-7) over the classes of each example, the standard deviation with C - 1.

    The top class stays: standardisation changes a KL and never an agreement.
    """
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (logits.std(1, keepdim=True) + 1e-7)
