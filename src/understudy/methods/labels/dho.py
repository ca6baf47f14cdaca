"""DHO: two heads for labels and teacher (Kang, Lee, Jang and Hwang, arXiv 2505.07675).

A student with few labels and many examples: one head learns from the labels, another from the teacher, and they meet in
the backbone alone, so that where the two disagree neither bends the other's classifier. It answers with their mixture.

    n_c CE(z^c, y) + n_k (T^2 KL(t_T || z^k_T) over the labelled + the same over the unlabelled)    means over a batch
    p = a softmax(z^c) + (1 - a) softmax(z^k / b)               z^c, z^k: (B, C) the heads' logits; p: what it says

Needs: a teacher; labels, -1 for an example without (`--labelled N` hides all but N). The student that is saved and
audited has two heads; what it says is `models.two_heads.mixture`. Proofs of its confidences are not possible yet.
Cost: a linear layer.
Known failure: on few labels a and b that are searched on a validation set fit that set.
Reconstructed: one batch holds both kinds, as they come, where the released code draws one of each; each mean is over
what the batch holds, and a batch without labelled examples has no first term. The paper's form for students that are
CLIP models (normalised features times 100 in the second head) is left out.
Measured (examples/dho.py, digits, 100 labels, a teacher that takes half of two classes for one another, 24 hidden
units, 60 epochs, 3 seeds; accuracy): two heads .856, .878, .896, one head for both .816, .838, .807, labels alone
.856, .867, .856. With a sound teacher the labels' head is the weaker half of the mixture: two heads .924, .938, .949,
one head .958, .949, .949. The gradients' cosine in the backbone was not lower with one head (+.024, +.172, +.004; two
heads +.013, -.004, -.005, with the confused teacher): what two heads spared here is the classifier, not the backbone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.models.two_heads import LABELS, TEACHER, TwoHeads, is_two_heads, mixture, spec_of
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.partly_labelled import labelled_and_soft
from understudy.training.method import Method

ALPHAS = tuple(i / 20 for i in range(21))
BETAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)


def shared(values: Float[Tensor, " b"], among: Bool[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The values times B / n where `among` holds, 0 elsewhere: their mean is that over the n chosen (0 for none)."""
    chosen = torch.where(among, values, torch.zeros_like(values))
    return chosen * (len(values) / among.sum().clamp(min=1))


def best_mixture(
    labels_head: Float[Tensor, "b c"], teacher_head: Float[Tensor, "b c"], truth: Tensor
) -> tuple[float, float, float]:
    """(a, b, accuracy): the first best of the paper's grid on a validation set with labels `truth` (B,)."""
    best = (0.5, 0.5, -1.0)
    for alpha in ALPHAS:
        for beta in BETAS:
            said = mixture(labels_head, teacher_head, alpha, beta)
            right = (said.argmax(1) == truth).double().mean().item()
            if right > best[2]:
                best = (alpha, beta, right)
    return best


@dataclass(frozen=True, kw_only=True)
class DHO(Method):
    """A head for labels and a head for the teacher.

    Attributes:
        temperature: T, above 0.
        label_weight, teacher_weight: n_c and n_k, 0 or more.
        alpha: a, share of the labels' head in the answer, in [0, 1].
        beta: b, above 0; below 1 it sharpens the teacher's head.
    """

    temperature: float = 2.0
    label_weight: float = 1.0
    teacher_weight: float = 1.0
    alpha: float = 0.5
    beta: float = 0.5

    needs = Needs(labels=True, unlabelled=True, whole_batch=True, own_heads=(LABELS, TEACHER))
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        for name in ("label_weight", "teacher_weight"):
            check_number(name, getattr(self, name), 0.0)
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("beta", self.beta, 0.0, above=True)

    def dress(self, student: nn.Module, spec: str) -> tuple[nn.Module, str]:
        """A copy of the student with two heads; one that has two already keeps them."""
        if isinstance(student, TwoHeads):
            inner = spec.partition(":")[2] if is_two_heads(spec) else spec
            student = copy.deepcopy(student)
            student.alpha, student.beta = self.alpha, self.beta
            return student, spec_of(inner, self.alpha, self.beta)
        return TwoHeads(copy.deepcopy(student), self.alpha, self.beta), spec_of(spec, self.alpha, self.beta)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "soft"}: (B,) each."""
        if batch.labels is None:
            raise InputError("DHO needs labels, -1 for examples without, and the batch has none")
        heads, there = student["clean"].heads, batch.labels >= 0
        hard, soft = labelled_and_soft(
            heads[LABELS], heads[TEACHER], teacher.logits, batch.labels, self.temperature
        )
        both = shared(soft, there) + shared(soft, ~there)
        return {"hard": self.label_weight * shared(hard, there), "soft": self.teacher_weight * both}
