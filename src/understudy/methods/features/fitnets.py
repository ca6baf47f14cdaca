"""FitNets: hints for thin deep nets (Romero et al., arXiv 1412.6550, ICLR 2015).

First a layer in the student's middle learns to give the teacher's middle (the hint) through a small regressor; then
the whole student learns from labels and softened confidences, starting from there.

    first share of the training:   1/2 |u_h(x) - r(v_g(x))|^2                   u_h the hint, v_g the guided layer
    the rest:                      H(y, s(x)) + lambda(e) H(t_T(x), s_T(x))     H(p, q) = -sum_k p_k ln q_k, no T^2

r is a convolution without padding (linear for vectors), with the hint's non-linearity; it is dropped. The first term
reaches only the student's layers up to the guided one; no label is read. lambda falls linearly from lambda_start to
lambda_end between two points of the second stage (epochs 5 and 400 of 500 in the released CIFAR-10 run).

The paper's norm sums over the whole map; the released code sums one axis of it and averages the others, and limits the
norm of r's kernels, which is left out here. One training holds both stages, in one schedule of the learning rate and
one optimiser; the paper stops each when a validation set no longer gains, so `hint_share` is ours. Batch norm above
the guided layer keeps gathering statistics during the first stage. A schedule that falls over the whole training leaves
little for the second stage: use schedule="constant".

Name the layers: `teacher_layer` and `student_layer`, or `taps={"hint": (teacher's, student's)}`. Known failure: a hint
from too deep a layer ties the student down.

Measured (digits, three seeds, 3 convolutions of 32 channels teach 10 of 8, Adam at a constant 1e-3): 8 epochs of hints
and 6 of distillation 0.946; 6 of distillation alone 0.853; but 14 of distillation alone 0.954, so that at an equal
budget the hints gained nothing here. With a cosine schedule over both stages (one seed, 14 and 6 epochs, 2e-3) the
student with hints was the worse one, 0.771 against 0.909.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError, unknown
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.refined_targets import soft_cross_entropy
from understudy.objectives.regressors import Activation, hint_distance, hint_regressor
from understudy.training.method import Method

_HINT = "hint"


@dataclass(frozen=True, kw_only=True)
class FitNets(Method):
    """Hints first, then distillation.

    Attributes:
        teacher_layer, student_layer: where the hint is read and which layer is guided; None leaves it to the taps.
        hint_share: share of the training that is the first stage; at 0 distillation alone.
        temperature: T, above 0.
        lambda_start, lambda_end: weight of the soft term before and after it falls.
        decay_start, decay_end: shares of the second stage between which it falls.
        activation: the hint layer's non-linearity, which ends the regressor too.
        spread: the regressor's weights are drawn from +- this.
    """

    teacher_layer: str | None = None
    student_layer: str | None = None
    hint_share: float = 0.5
    temperature: float = 3.0
    lambda_start: float = 4.0
    lambda_end: float = 1.0
    decay_start: float = 0.01
    decay_end: float = 0.8
    activation: Activation = "relu"
    spread: float = 0.05

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "soft": "least"}

    def __post_init__(self) -> None:
        for name in ("hint_share", "decay_start", "decay_end"):
            check_number(name, getattr(self, name), 0.0, 1.0)
        for name in ("lambda_start", "lambda_end"):
            check_number(name, getattr(self, name), 0.0)
        for name in ("temperature", "spread"):
            check_number(name, getattr(self, name), 0.0, above=True)
        if not self.decay_start < self.decay_end:
            raise InputError(
                f"decay_end must be above decay_start, {self.decay_start}, found {self.decay_end}"
            )
        if self.activation not in ("relu", "tanh", "sigmoid", "none"):
            raise unknown("activation", self.activation, ("relu", "tanh", "sigmoid", "none"))
        if (self.teacher_layer is None) != (self.student_layer is None):
            raise InputError("give both teacher_layer and student_layer, or neither")

    @property
    def needs(self) -> Needs:
        """Both models, the hint's two layers, labels and the regressor; no hint if its share is 0."""
        if self.hint_share == 0:
            return Needs(labels=True)
        named = self.teacher_layer is not None and self.student_layer is not None
        places = {_HINT: (str(self.teacher_layer), str(self.student_layer))} if named else {}
        return Needs(labels=True, features=(_HINT,), auxiliary=True, places=places)

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        """The regressor r."""
        guided, hint = student.features[_HINT], teacher.features[_HINT]
        return hint_regressor(guided, hint, self.activation, self.spread)

    def weight(self, progress: float) -> float:
        """lambda at this share of the whole training."""
        stage = (progress - self.hint_share) / (1 - self.hint_share)
        fallen = min(max((stage - self.decay_start) / (self.decay_end - self.decay_start), 0.0), 1.0)
        return self.lambda_start + fallen * (self.lambda_end - self.lambda_start)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hint": (B,)} in the first stage, {"soft", "hard"}: (B,) each in the second."""
        if batch.progress < self.hint_share:
            assert batch.auxiliary is not None
            guided = _wide(student.features[_HINT])
            return {"hint": hint_distance(teacher.features[_HINT], batch.auxiliary(guided))}
        t, s = _wide(teacher.logits.detach()), _wide(student.logits)
        soft = soft_cross_entropy((t / self.temperature).softmax(1), s / self.temperature)
        return {"soft": self.weight(batch.progress) * soft, "hard": label_loss(s, batch)}


def _wide(answer: Tensor) -> Tensor:
    return answer.to(torch.promote_types(answer.dtype, torch.float32))
