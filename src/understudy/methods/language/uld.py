"""ULD: universal logit distillation (Boizard, El Haddad, Hudelot and Colombo, arXiv 2402.12030, TMLR 2025).

Teacher and student cut text into different tokens, so the confidences over them cannot be compared one by one. Sorted
they can: optimal transport between the two, where every move costs the same, has this closed form.

    W(p_i, q_i) = sum over k of |p_i(k) - q_i(k)|      p_i: (V_T,), q_i: (V_S,), sorted, the shorter filled with 0
    CE(s, y) + lambda 1/n sum over i <= n of W(p_i, q_i)               n = min(n_S, n_T) positions of the answer

Both models read the same text, each in its own tokens (views "clean" and "teacher"). Positions are paired by their
number in the answer, as in the paper and its code (`align="index"`): the i-th token of one with the i-th of the other,
which have read different texts as soon as one token is longer. `align="text"`, an addition of ours, pairs the
positions at which both have read exactly the same characters and leaves out the others.

No projection, no shared vocabulary. Cost: two sorts of (B, L, V). Known failure: W carries no identity of tokens. A
teacher with its vocabulary shuffled gives the same loss to the bit, so without the cross-entropy nothing says which
token is right; what is taught is how sure to be. Reconstructed: from the official code's loss and configuration as
described; the code's mean over positions and batch is followed, not the paper's sum.

Measured (`examples/uld.py`: tinyshakespeare, teacher lm[2,48,4] on bytes, student lm[1,32,2] on a vocabulary of 320,
128 steps, unseen text, means of three seeds; at positions where both have read the same): lambda = 0, "index" and
"text" end at W 0.617, 0.478 and 0.322 and at |H(q) - H(p)| 0.954, 0.793 and 0.529 nats, in this order in each seed.
As sure as the teacher is not as right: the student's own loss is 2.437, 2.668 and 2.673 nats a byte. No gain there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.data.token_rows import meeting
from understudy.errors import unknown
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.sorted_distance import gathered, sorted_distance
from understudy.objectives.tokens import mask_of, next_token_loss, sequence_mean
from understudy.training.method import Method

TEACHER = "teacher"


@dataclass(frozen=True, kw_only=True)
class ULD(Method):
    """Universal logit distillation.

    Attributes:
        lam: lambda, weight of the transport.
        ce_weight: weight of the cross-entropy to the text itself.
        teacher_temperature, student_temperature: of the confidences that are sorted.
        align: how positions are paired, by their number in the answer ("index") or by what has been read ("text").
        skip_end: whether each side's last position, the one that says the end token, is left out (with "index").
    """

    lam: float = 1.5
    ce_weight: float = 1.0
    teacher_temperature: float = 1.0
    student_temperature: float = 1.0
    align: Literal["index", "text"] = "index"
    skip_end: bool = False

    needs = Needs(student=(CLEAN,), teacher=(TEACHER,), labels=True, tokens=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "transport": "equal views"}

    def __post_init__(self) -> None:
        for name in ("lam", "ce_weight"):
            check_number(name, getattr(self, name), 0.0)
        for name in ("teacher_temperature", "student_temperature"):
            check_number(name, getattr(self, name), 0.0, above=True)
        if self.align not in ("index", "text"):
            raise unknown("alignment", self.align, ("index", "text"))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "transport"}: (B,) each; one whose weight is 0 is left out unless both are."""
        terms = {}
        if self.ce_weight > 0:
            terms["hard"] = self.ce_weight * next_token_loss(student.logits, batch.clean, mask_of(batch))
        if self.lam > 0 or not terms:
            terms["transport"] = self.lam * self._transport(student.logits, teacher[TEACHER].logits, batch)
        return terms

    def _transport(self, s: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """The mean of W over a sequence's pairs of positions: (B,)."""
        names = (CLEAN, TEACHER) if self.align == "index" else meeting(CLEAN, TEACHER)
        ours, theirs = (mask_of(batch, name) for name in names)
        length = min(ours.shape[1], theirs.shape[1])
        count = ours.sum(1).minimum(theirs.sum(1))
        if self.skip_end and self.align == "index":
            count = count - 1
        pairs = (gathered(t, theirs, length), gathered(s, ours, length))
        values = sorted_distance(
            *pairs, teacher_temperature=self.teacher_temperature, student_temperature=self.student_temperature
        )
        places = torch.arange(length, device=values.device)
        return sequence_mean(values, places < count[:, None])
