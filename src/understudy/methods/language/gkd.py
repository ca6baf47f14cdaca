"""GKD: generalised knowledge distillation (Agarwal et al., arXiv 2306.13649, ICLR 2024).

The student learns on texts that it writes itself, with probability lambda, so that it is taught where it will be
standing, not only where the data are.

    D(p_T || p_S)(y | x) = 1/L_y sum over n of D(p_T(. | y_<n, x) || p_S(. | y_<n, x))         p: (V,)
    (1 - lambda) E_(x, y of the data) D(y | x) + lambda E_(x) E_(y ~ p_S(. | x)) D(y | x)

D is JSD_beta = beta KL(p_T || m) + (1 - beta) KL(p_S || m) with m = beta p_T + (1 - beta) p_S, and at the ends
beta = 0 forward KL(p_T || p_S), beta = 1 reverse KL(p_S || p_T): the limits of JSD_beta / beta and JSD_beta /
(1 - beta), as implementations have it (JSD itself goes to 0 there, so a beta of 0.01 is a hundred times weaker than 0).
No gradient flows through the sampling. One number is drawn a batch: it decides who writes all of its answers.

Needs one tokenizer for both models, and prompts; answers only while lambda < 1. lambda = 0 with beta = 0 is
word-level distillation on the data, lambda = 1 with beta = 1 the single-step term of MiniLLM. Cost: the rollouts, a
token at a time. Known failure: a student that can write nothing yet is taught on garbage: train it first (`sft`).
Reconstructed: equations and defaults are recalled and those of implementations, not read in the paper; these average
over all tokens of a batch, here each sequence has its own mean, as above. The extension by a reward is left out.

Measured (`examples/gkd.py`: tinyshakespeare in bytes, 24 written behind 8 given, teacher lm[2,48,4], student lm[1,16,2]
after supervised training, 64 steps of beta = 0.5, unseen text, means of three seeds, nats a token): on what the student
writes KL(p_S || p_T) is 0.392 with lambda = 1 and 0.466 with lambda = 0 (0.877 before), and the teacher's surprise at
it 3.17 and 3.24 (3.98 before), the same way round in each seed. On the given text lambda = 0 is nearer: KL(p_T || p_S)
0.347 against 0.391. No gap that grows with the position was seen: 24 bytes are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs
from understudy.objectives.tokens import mask_of, sequence_divergence
from understudy.sources.base import Source
from understudy.sources.rolled_out import RolledOut, Writer
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class GKD(Method):
    """Generalised knowledge distillation.

    Attributes:
        lam: lambda, probability that the student writes a batch's answers; 0 is supervised, 1 on-policy.
        beta: which divergence, in [0, 1]: 0 forward KL, 1 reverse KL, between them the generalised JSD.
        otherwise: where the answers come from else: "data", or "teacher", which writes them anew each time.
        temperature: of the sampling alone; the divergence is taken at temperature 1.
        classes: how many of the logits are tokens, where heads are padded to different widths.
        end: the token that ends an answer; None takes the data's, if it has one.
    """

    lam: float = 0.5
    beta: float = 0.5
    otherwise: Writer = "data"
    temperature: float = 1.0
    classes: int | None = None
    end: int | None = None

    needs = Needs(tokens=True)

    def __post_init__(self) -> None:
        check_number("beta", self.beta, 0.0, 1.0)
        self.source(0.0, 1.0)  # which checks the others

    def with_end(self, end: int | None) -> GKD:
        """Told the token that ends an answer, unless it states one of its own."""
        return self if self.end is not None else replace(self, end=end)

    def source(self, low: float, high: float) -> Source:
        """The data with rollouts in them."""
        return RolledOut(
            self.lam, "student", self.otherwise, self.temperature, self.end, classes=self.classes
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft": (B,)}."""
        mask = mask_of(batch)
        values = sequence_divergence(
            teacher.logits, student.logits, mask, "jsd", self.beta, classes=self.classes
        )
        return {"soft": values}
