"""CutMixPick: a good data augmentation for distillation (Wang, Lohit, Jones and Fu, arXiv 2012.02909, NeurIPS 2022).

The student is shown a second, augmented batch, and the teacher says what it is: no label is mixed. Good augmentations
make examples that resemble one another less. Of two rounds of CutMix the images of which the teacher is least sure are
kept, as many as the batch has.

    gamma CE(s(x), y) + alpha (w1 KD(x) + w3 KD(x~))            KD(u) = T^2 KL(softmax(t(u)/T) || softmax(s(u)/T))
    x~ = the B images of highest H(softmax(t(x'))) among `runs` augmentations x' of the batch

`augmentation` and `runs` = 1 give the plain ones: "identity" is the control of equal weight, and not the same as `kd`.
`--augment` is applied before, to x itself. Cost a step: `runs` B forward passes of the teacher to score and 2 B to
teach, 2 B of the student; examples are mixed with one another, so no micro-batches and one device.

Reconstructed: B images are kept whatever B is (the released code keeps 64); one lambda and one rectangle a batch, as
there. Its cross-entropy of mixed labels (weight 0 there) and AutoAugment are left out. The student's entropy is taken
in eval mode. An example that is alone in its batch is shown as it is.
How good an augmentation is for a teacher, before any training: `understudy.fidelity.teacher_stddev`.

Measured (digits, 400 examples, two seeds, cnn[16,32,100] teaches cnn[8,16,32], 40 epochs of Adam at 3e-3 in batches
of 64; examples/good_data_augmentation.py): T^2 KL to the teacher on test data 0.643 picked (accuracy 0.890), 0.715
cutmix (0.889), 0.751 with the least entropic kept (0.879), 0.713 identity, 0.500 cutout. T.stddev is 0.0141 picked,
0.0142 cutmix, 0.0173 least, 0.0147 identity, not the highest of the usual ones (mixup 0.0148). Its rank correlation
with the test loss over seven augmentations is only 0.25, as mirrored digits (0.0136, loss 0.752) look good to it;
0.71 without them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.sources.base import Source
from understudy.sources.picked import Keep, Picked, Score
from understudy.sources.with_augmented import AUGMENTED, Kind, WithAugmented
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class CutMixPick(Method):
    """Distillation on the data and on an augmented batch, picked by entropy.

    Attributes:
        gamma: weight of the true labels; at 0 none are needed.
        alpha: weight of both soft terms.
        temperature: T, above 0.
        w1, w3: weights of the data's soft term and of the augmented batch's.
        augmentation: "cutmix", "mixup", "cutout", "shift", "flip" or "identity".
        runs: augmentations that compete; 1 picks nothing.
        score: "teacher" or "student", whose entropy is asked for.
        keep: "most", or as a control "least".
        pixels, hole: of "shift" and "cutout", as `WithAugmented` has them.
    """

    gamma: float = 0.1
    alpha: float = 0.9
    temperature: float = 4.0
    w1: float = 1.0
    w3: float = 1.0
    augmentation: Kind = "cutmix"
    runs: int = 2
    score: Score = "teacher"
    keep: Keep = "most"
    pixels: int = 2
    hole: float = 0.5

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        for name in ("gamma", "alpha", "w1", "w3"):
            check_number(name, getattr(self, name), 0.0)
        check_number("temperature", self.temperature, 0.0, above=True)
        self.source(0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """Both views of both models; labels unless gamma = 0."""
        views = (CLEAN, AUGMENTED)
        return Needs(student=views, teacher=views, labels=self.gamma > 0)

    def source(self, low: float, high: float) -> Source:
        """The data with the augmented view, picked."""
        made = WithAugmented(
            self.augmentation, self.pixels, self.hole, fill=low if math.isfinite(low) else 0.0
        )
        return Picked(made, self.runs, self.score, self.keep)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "augmented", "hard"}: (B,) each; "hard" only if gamma > 0."""
        weight = self.alpha * self.temperature**2
        t, s = teacher[AUGMENTED].logits, student[AUGMENTED].logits
        terms = {
            "soft": weight * self.w1 * kl(teacher.logits, student.logits, self.temperature),
            "augmented": weight * self.w3 * kl(t, s, self.temperature),
        }
        if self.gamma > 0:
            terms["hard"] = self.gamma * label_loss(student.logits, batch)
        return terms
