"""RS-KD: random sampling of sparse teacher logits (Anshumann et al., arXiv 2503.16870, ACL 2025).

A teacher's answers are computed once and a few classes of each are kept. The likeliest k are a biased choice: the tail
is lost, and the student becomes too sure. A random sample is not.

    (1 - a) T^2 KL(w || s_T) + a CE(s, y)               w = c / N: counts of N classes drawn from t_T; E[w] = t_T
    w_i = 1/N sum_n t_i / r_i 1[i_n = i], r ~ t^tau     for a proposal tau other than 1       t_T, s_T: (B, C) softmax

The gradient is linear in w, so that its mean over the draws is that of all logits. An example's draws belong to it and
do not change between epochs: a live teacher and one that is stored (`--stored DIR`) give the same training.

Needs: a teacher; labels if a > 0. Cost: from a store none but the reading; about 12 classes of 50 draws.
Known failure: T is fixed when the answers are kept; with few classes there is nothing to spare.
Reconstructed: where w does not sum to 1 (top-k, tau other than 1) the term is Sum w ln(w / s) - Sum w + 1, which has
the same gradient and is not negative; the paper's table of costs was not at hand.
Measured (examples/sparse_logit_sampling.py, the next of the 500 commonest words of Shakespeare from two, 3 seeds; KL
from the teacher on other text): .0048, .0047, .0050 from all logits, .0096, .0093, and .0096 from 50 draws, 2.250,
2.330 and 2.248 from the 12 likeliest classes. Mean confidence .240, .240, .465 (seed 0) where the student is right .28
of the time; outside the teacher's 12 likeliest classes, where it has .500, the student has .503, .505 and .061.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.sparse_targets import sparse_kl
from understudy.teachers.encoding import Encoding
from understudy.teachers.keeping import CLASSES, PROBABILITIES, keep, notes_of
from understudy.teachers.sparse import Sampled, TopK
from understudy.teachers.targets import SparseTargets
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class SparseLogitSampling(Method):
    """Distillation from a few classes of the teacher's answer.

    Attributes:
        keeping: "sampled" (the paper's) or "top-k" (what it is compared with).
        draws: N, 1 or more.
        proposal: tau, above 0.
        k: classes kept by "top-k".
        temperature: T, above 0.
        alpha: a, share of the labels.
        seed: of the draws.
    """

    keeping: Literal["sampled", "top-k"] = "sampled"
    draws: int = 50
    proposal: float = 1.0
    k: int = 12
    temperature: float = 1.0
    alpha: float = 0.0
    seed: int = 0

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"soft": "elsewhere", "hard": "right label"}

    def __post_init__(self) -> None:
        if self.keeping not in ("sampled", "top-k"):
            raise InputError(f"keeping must be 'sampled' or 'top-k', found {self.keeping!r}")
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)
        _ = Sampled(self.draws, self.proposal, self.seed), TopK(self.k)

    @property
    def keeps(self) -> tuple[Encoding, float | None]:
        """How the answers are kept, and their temperature."""
        encoding = (
            Sampled(self.draws, self.proposal, self.seed) if self.keeping == "sampled" else TopK(self.k)
        )
        return encoding, self.temperature

    @property
    def needs(self) -> Needs:
        """The teacher's answers as they are kept; labels if they have a share."""
        return Needs(labels=self.alpha > 0, settled=True)

    def settle(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """What would be stored of a live teacher's answers."""
        return self.rehearse(teacher, batch)

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The same: it is made of the teacher's answers and the examples' indices alone."""
        targets = keep(self.keeps[0], teacher.logits, batch.index, self.temperature)
        assert isinstance(targets, SparseTargets)
        return notes_of(targets)

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """ln w of the kept classes, and far below it for all others."""
        classes, kept = batch.notes[CLASSES], batch.notes[PROBABILITIES]
        logits = teacher.logits.new_full(teacher.logits.shape, -1e4)
        logits.scatter_reduce_(1, classes, kept.to(logits).log().clamp(min=-1e4), "amax")
        return self.temperature * logits

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if a > 0."""
        kept = batch.notes[PROBABILITIES]
        soft = sparse_kl(student.logits, batch.notes[CLASSES], kept, self.temperature)
        whole = soft + (1 - kept.to(soft.dtype).sum(1))
        terms = {"soft": (1 - self.alpha) * self.temperature**2 * whole}
        if self.alpha:
            terms["hard"] = self.alpha * label_loss(student.logits, batch)
        return terms
