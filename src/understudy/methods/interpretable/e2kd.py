"""e2KD: good teachers explain (Parchami-Araghi et al., arXiv 2402.03119, ECCV 2024).

Besides the answer the student matches the explanation of the teacher's first choice: where in the image the evidence
lies. A student that is right for the teacher's reasons stays right where the data's short cuts are gone.

    T^2 KL(t_T(x) || s_T(x)) + l (1 - cos(G_t, G_s))          t_T, s_T: (B, C) softmax at temperature T
    G = ReLU(sum_d a_d F_d), a_d = mean_hw dz_y / dF_d          F: (B, D, h, w) the last convolution's output
    y = argmax_k t_k, for both models; G_t is a constant

Needs: two convolutional networks; no labels. The feature "map" is the last convolution's output, unless `taps` name
another layer. Cost: a backward pass through the teacher's last layers and a second-order one through the student's.
Known failure: a map that is 0 everywhere gives no gradient; at first many of the student's are.
Reconstructed: the maps are compared at the student's size (the paper resizes both to the input's, which is nearly the
same); where both are 0 they count as alike. The paper's B-cos networks are left out.
Measured (examples/e2kd.py, 3,000 MNIST digits with a square that gives the class away in training and not in the
test, 10 epochs, 3 seeds; test accuracy): .792, .814, .780 by the answers alone, .798, .808, .800 with the
explanations at l = 1, .771, .762, .765 with those of other images. The maps are alike (cosine .95, .96, .96 against
.61, .57, .41): they are copied, the gain is within the noise. At l = 5 (one seed) .755: too much; on digits of 8x8
pixels, whose last map has four cells, l = 1 kept the student from learning (.41 against .82 at l = .2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import MAP, Needs
from understudy.objectives.divergences import kl
from understudy.objectives.explanations import grad_cam, unlike
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class E2KD(Method):
    """Soft distillation, and the teacher's explanations.

    Attributes:
        temperature: T, above 0.
        weight: l, of the explanations, 0 or more; at 0 soft distillation.
    """

    temperature: float = 1.0
    weight: float = 1.0

    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("weight", self.weight, 0.0)

    @property
    def needs(self) -> Needs:
        """Both models' last maps, with the graph to their logits."""
        return Needs(features=(MAP,), teacher_grad=True) if self.weight else Needs()

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "explanation"}: (B,) each; the latter only if it weighs anything."""
        t, s = teacher.logits, student.logits
        terms = {"soft": self.temperature**2 * kl(t.detach(), s, self.temperature)}
        if self.weight:
            first = t.argmax(1)
            taught = grad_cam(t, teacher.features[MAP], first)
            own = grad_cam(s, student.features[MAP], first, keep_graph=True)
            terms["explanation"] = self.weight * unlike(own, taught)
        return terms
