"""TGeo-KD: a learned weight between teacher and label for every example (Hu et al., arXiv 2312.15112, ICLR 2024).

A small network, the controller, reads the weight off the triangle that student, teacher and truth form at an example.
It learns on examples kept apart: what would the student lose there, had it just taken a step with these weights?

    alpha_i = sigmoid(MLP(u_i))        u_i: (9C,) from softmax s, softmax t, onehot(y) and the class's mean softmax t
    L(theta) = mean_i [ alpha_i tau^2 KL(t_tau(x_i) || s_tau(x_i)) + (1 - alpha_i) CE(s(x_i), y_i) ]    alpha constant
    controller: descends CE of the student at theta - eta grad L(theta), on the examples kept apart
    student: descends L(theta), with the alphas of the controller as that left it                  t, s: (B, C) logits

Needs: a teacher, labels; a tenth of the training data is kept apart (and must not be reported on). Cost: two more
forward passes of the student a step and a gradient through a gradient, about four plain steps; whole batches on one
device. The student's running statistics (batch norm) are moved by its own step only; both passes of the controller's
turn normalise by their own batch.

Known failure: the controller is no better than the labels kept apart; where they are wrong as often as the rest it
turns away from a right teacher (below). At a high `controller_lr` every weight falls to 0 in the first steps, and no
gradient brings it back. C enters the controller's width nine times (9,000 inputs for 1,000 classes). A class's mean
runs over all that was seen so far, the example itself included.

Reconstructed: the gradient of the upper level is taken through one step of plain gradient descent. The released code
computes alpha without gradient, so its controller never learns (its learning rate and decay never mattered, and are
not copied), and takes the cross-entropy of probabilities instead of logits; neither is followed. The features are
the third of its seven options ("full"); the others are offered.

Measured (examples/tgeo_kd.py: 1,000 digits, a tenth of them kept apart, student mlp[16], three seeds; the teacher's
logits of the classes 0-4 have changed places): mean weight 0.040 on these and 0.578 on 5-9, accuracy 0.942; with a
controller that never learns 0.51 on both, accuracy 0.592; the teacher alone 0.472. The labels alone give 0.964: the
method limits the harm here, the half of the teacher that is right adds nothing. With a right teacher and two labels in
five drawn anew (those kept apart too) it does harm: weights 0.18 and 0.24, accuracy 0.887; resting controller 0.935,
labels alone 0.893, teacher alone 0.957.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError, unknown
from understudy.models.functional import learning, one_step, said_at
from understudy.models.look import answer_of
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.objectives.partner import Partner, Turn
from understudy.objectives.trilateral import SIZES, Controller, Geometry, trilateral
from understudy.sources.base import Cast
from understudy.training.method import Method

ALPHA, CONTROLLER, VALIDATION = "alpha", "controller", "validation"


@dataclass(frozen=True, kw_only=True)
class Weigher(Partner):
    """The upper level: learns from what a step with its weights would do to the examples kept apart.

    Attributes:
        method: whose loss the student steps on.
    """

    method: TGeoKD

    def build(self, batch: Batch, cast: Cast) -> nn.Module:
        """A controller for as many classes as the teacher tells apart."""
        if cast.teacher is None:
            raise InputError("TGeo-KD needs a teacher")
        classes = cast.teacher(batch.clean).shape[1]
        return Controller(SIZES[self.method.geometry] * classes, classes)

    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        """{"validation": (N,)}: the stepped student's cross-entropy."""
        assert isinstance(own, Controller)
        batch, student, teacher = turn.batch, turn.cast.student, turn.teacher.logits
        if batch.labels is None:
            raise InputError("TGeo-KD needs labels, and the batch has none")
        own.note(teacher, batch.labels)
        alpha = self.method.weights(own, turn.student, turn.teacher, batch)
        at = learning(student)
        soft, hard = self.method.losses(answer_of(said_at(student, at, batch.clean)), teacher, batch)
        ahead = one_step((alpha * soft + (1 - alpha) * hard).mean(), at, self.method.eta)
        held = batch.parts[VALIDATION]
        return {"validation": label_loss(answer_of(said_at(student, ahead, held.clean)), held)}


@dataclass(frozen=True, kw_only=True)
class TGeoKD(Method):
    """Trilateral geometry.

    Attributes:
        temperature: tau, above 0.
        eta: rate of the student's step that the controller looks through, above 0; the student's own learning rate
            where that is plain gradient descent.
        controller_lr: learning rate of the controller (Adam).
        validation: share of the training data that is kept apart, between 0 and 1.
        geometry: what the weight is read off: "full" or a part, as `objectives.trilateral` lists them.
    """

    temperature: float = 1.5
    eta: float = 0.1
    controller_lr: float = 0.003
    validation: float = 0.1
    geometry: Geometry = "full"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        for name in ("temperature", "eta", "controller_lr"):
            check_number(name, getattr(self, name), 0.0, above=True)
        if not 0 < self.validation < 1:
            raise InputError(f"validation must lie between 0 and 1, found {self.validation}")
        if self.geometry not in get_args(Geometry):
            raise unknown("geometry", str(self.geometry), get_args(Geometry))

    @property
    def needs(self) -> Needs:
        """Labels, examples kept apart, and weights that are settled before the loss is taken."""
        return Needs(labels=True, validation=self.validation, settled=True)

    @property
    def partners(self) -> Mapping[str, Partner]:
        """The controller."""
        return {CONTROLLER: Weigher(lr=self.controller_lr, method=self)}

    def weights(self, own: nn.Module, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """alpha of each example, (B,), with a gradient to the controller alone."""
        assert isinstance(own, Controller)
        if batch.labels is None:
            raise InputError("TGeo-KD needs labels, and the batch has none")
        means = own.means(teacher.logits, batch.labels)
        return own(trilateral(teacher.logits, student.logits, batch.labels, means, self.geometry))

    def losses(self, logits: Tensor, teacher_logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(tau^2 KL, CE) of each example, (B,) each."""
        soft = self.temperature**2 * kl(teacher_logits, logits, self.temperature)
        return soft, label_loss(logits, batch)

    @torch.no_grad()
    def settle(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"alpha": (B,)}."""
        return {ALPHA: self.weights(batch.partners[CONTROLLER], student, teacher, batch)}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft": (B,), "hard": (B,)}."""
        soft, hard = self.losses(student.logits, teacher.logits, batch)
        alpha = batch.notes[ALPHA].to(soft)
        return {"soft": alpha * soft, "hard": (1 - alpha) * hard}

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Weights from 1/8 to 7/8, by the example's index."""
        return {ALPHA: (1 + batch.index % 7).to(teacher.logits.dtype) / 8}
