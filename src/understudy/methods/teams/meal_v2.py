"""MEAL V2: an ensemble's soft labels and a discriminator (Shen and Savvides, arXiv 2009.08453).

A student that is already trained is tuned to the mean confidence of several teachers, without any label; a small
network tells its logits from the teachers' mean logits, and the student learns to be taken for them.

    P = 1/M sum_m softmax(z^m)              z^m: (B, C) teacher m's logits; P is a mean of confidences, not of logits
    -sum_c P_c ln s_c + l BCE(D([z; zbar]), ([1 0]; [0 1]))     z: the student's logits, zbar = 1/M sum_m z^m

D: C -> C/8 -> C/64 -> 2, the inner layers 8 wide at least, with a ReLU after each. Two forms: "reversal" turns the
sign of the discriminator's gradient at the student, which is what the paper means; "code" does not, which is what
was released: the student then helps the discriminator.

Needs: several teachers (`--teacher "runs/a;runs/b"`; one alone is soft distillation at T = 1 plus the constant
H(P)); a student that starts from weights of its own. Cost: a forward pass a teacher.
Known failure: with a final ReLU the discriminator can die, and says nothing from then on.
Reconstructed: the discriminator learns at the student's learning rate, as the released code does in fact.
Measured (examples/meal_v2.py, 5,000 images of Fashion-MNIST, three teachers of 200 hidden units, a student of 32, 8
more epochs, 2 seeds; test NLL): .574, .575 before, .510, .512 with soft labels, .511, .512 with the discriminator
reversed, .516, .521 as released, .563, .567 from new weights, but .501, .503 by going on with the labels: no gain
over labels at this size. Of held-out logits the discriminator told .500, .509 apart when reversed, .746, .999 as
released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.refined_targets import soft_cross_entropy
from understudy.training.method import Method


class Discriminator(nn.Module):
    """Logits (B, C) -> two numbers (B, 2), which say whether a student's or the teachers' they are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [classes, max(8, classes // 8), max(8, classes // 64), 2]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b 2"]:
        """Each 0 or more."""
        for layer in self.layers:
            logits = layer(logits).relu()
        return logits


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient has the opposite sign (Ganin and Lempitsky, arXiv 1409.7495)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def told_apart(student: Float[Tensor, "b 2"], teacher: Float[Tensor, "b 2"]) -> Float[Tensor, " b"]:
    """Binary cross-entropy of the discriminator's numbers: (1, 0) for a student's, (0, 1) for the teachers'.

    The mean over the four numbers of an example, in nats; ln 2 where it knows nothing.
    """
    rows = torch.stack([student[:, 0], -student[:, 1], -teacher[:, 0], teacher[:, 1]], 1)
    return F.softplus(-rows).mean(1)


@dataclass(frozen=True, kw_only=True)
class MEALV2(Method):
    """Soft labels of an ensemble, and a discriminator.

    Attributes:
        weight: l, of the discriminator's loss, 0 or more; at 0 there is none.
        form: "reversal" (the student works against the discriminator) or "code" (it helps it).
    """

    weight: float = 1.0
    form: Literal["reversal", "code"] = "reversal"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"similarity": "elsewhere", "told": "game"}

    def __post_init__(self) -> None:
        check_number("weight", self.weight, 0.0)
        if self.form not in ("reversal", "code"):
            raise InputError(f"form must be 'reversal' or 'code', found {self.form!r}")

    @property
    def turned(self) -> frozenset[str]:
        """The discriminator's loss, in the form that works against it."""
        return frozenset({"told"} if self.form == "reversal" else ())

    @property
    def needs(self) -> Needs:
        """Every member of the team of teachers; the discriminator, if it weighs anything."""
        return Needs(heads=("*",), auxiliary=self.weight > 0)

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        """The discriminator."""
        return Discriminator(student.logits.shape[1])

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """ln P."""
        return _confidence(teacher).log()

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"similarity": (B,), "told": (B,)}; without a weight only the first."""
        terms = {"similarity": soft_cross_entropy(_confidence(teacher), student.logits)}
        if not self.weight:
            return terms
        assert batch.auxiliary is not None
        wide = torch.promote_types(student.logits.dtype, torch.float32)
        own, mean = student.logits.to(wide), torch.stack([*teacher["clean"].heads.values()]).to(wide).mean(0)
        shown = _Reversed.apply(own) if self.form == "reversal" else own
        with torch.autocast(own.device.type, enabled=False):
            found = batch.auxiliary(shown), batch.auxiliary(mean.detach())
        terms["told"] = self.weight * told_apart(*found)
        return terms


def _confidence(teacher: Outputs) -> Tensor:
    """The members' mean confidence: (B, C)."""
    heads = torch.stack([*teacher["clean"].heads.values()])
    return heads.to(torch.promote_types(heads.dtype, torch.float32)).softmax(-1).mean(0)
