"""IAD-I: introspective adversarial distillation (Zhu et al., arXiv 2106.04928, ICLR 2022).

A teacher that is itself fooled at the attacked point is trusted less there, and the student itself more.

    x' = argmax over B(x) of CE(s(x'), y);   a_x = softmax(t(x'))_y ^ beta
    during warm-up:  ARD's  T^2 KL(t_T(x) || s_T(x'))
    then:            a_x T^2 KL(t_T(x) || s_T(x')) + (1 - a_x) KL(s(x) || s(x'))  [ + (1 - a) CE(s(x), y) ]

Rebuilt from the released code; the paper's text was not available. The factor a_x of the first term is the paper's
by report only: the code leaves it out, and `form="code"` does the same. Ours, not read anywhere: the clean student
confidences are a target, through which no gradient flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from understudy.data.batch import ATTACKED, CLEAN, Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


def teacher_trust(teacher_logits: Float[Tensor, "b c"], batch: Batch, beta: float) -> Float[Tensor, " b"]:
    """a_x = softmax(t(x'))_y ^ beta, in [0, 1]; y are the batch's labels."""
    return (-beta * label_loss(teacher_logits, batch)).exp()


@dataclass(frozen=True, kw_only=True)
class IAD(AdversarialMethod):
    """Introspective adversarial distillation, the variant that starts from ARD.

    Attributes:
        temperature: T of the teacher's term, above 0.
        alpha: a; 1 - a weighs the true labels.
        beta: how fast trust falls with the teacher's confidence in the truth.
        warmup: share of the training that is plain ARD (60 of the paper's 200 epochs).
        form: "paper" weighs the teacher's term by a_x, "code" does not.
    """

    temperature: float = 1.0
    alpha: float = 1.0
    beta: float = 0.1
    warmup: float = 0.3
    form: Literal["paper", "code"] = "paper"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {
        "teacher": "equal views", "self": "equal views", "hard": "right label",
    }  # fmt: skip
    held: ClassVar[Mapping[str, tuple[str, ...]]] = {"self": (CLEAN,)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("beta", self.beta, 0.0)
        check_number("warmup", self.warmup, 0.0, 1.0)
        if self.form not in ("paper", "code"):
            raise InputError(f"form must be 'paper' or 'code', found {self.form!r}")

    @property
    def needs(self) -> Needs:
        """Both models on both views, and labels."""
        return Needs(student=(ATTACKED, CLEAN), teacher=(CLEAN, ATTACKED), labels=True)

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """CE(s(x'), y): (B,)."""
        return label_loss(student(point), batch)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"teacher", "self", "hard"}: (B,) each; "self" after warm-up, "hard" only if a < 1."""
        guide = self.temperature**2 * kl(teacher.logits, student[ATTACKED].logits, self.temperature)
        if batch.progress < self.warmup:
            terms = {"teacher": self.alpha * guide}
        else:
            trust = teacher_trust(teacher[ATTACKED].logits, batch, self.beta)
            introspection = kl(student.logits.detach(), student[ATTACKED].logits)
            guide = trust * guide if self.form == "paper" else guide
            terms = {"teacher": self.alpha * guide, "self": self.alpha * (1 - trust) * introspection}
        if self.alpha < 1:
            hard = label_loss(student.logits, batch)
            terms["hard"] = (1 - self.alpha) * hard
        return terms
