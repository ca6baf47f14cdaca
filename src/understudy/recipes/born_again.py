"""BAN: born-again networks (Furlanello et al., arXiv 1805.04770, ICML 2018).

A network of the teacher's own architecture, from fresh weights, learns from the teacher's confidences alone; the next
generation learns from that one, and so on. Temperature 1 throughout.

    generation k:  CE(t(x), s(x)),   t = softmax of generation k - 1, generation 0 the teacher
    labels:        CE(s(x), y) + CE(t(x), s(x))
    cwtm:          sum_i w_i CE(s(x_i), y_i) / sum_i w_i,   w_i = max_j t_j(x_i), over the batch
    dkpp:          CE(t'(x), s(x)),   t' = t with all entries but its largest permuted

The average of the generations' confidences (BANE) is `understudy.models.ensemble.MeanConfidence`.

Needs: an architecture that can be built anew; labels for two of the variants. Cost: a training a generation.
Known failure: gains over the teacher are small, and gone or reversed on some of the paper's own architectures; the
variant with labels was worse than without on its image data.
Reconstructed: whether the permutation is drawn anew is not stated in the paper: it is, an example and epoch; no code
was released. KL stands for the cross-entropy to the teacher, from which it differs by a constant.
Measured (examples/born_again.py, digits, 900 examples, 32 hidden units, 30 epochs, 3 seeds): test NLL of the teacher
.181, .144, .145, of the first generation .200, .170, .151, of the mean of three .200, .167, .162: the paper's gain did
not appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from understudy.errors import InputError
from understudy.methods.robust.kd import SD
from understudy.methods.self_distillation.cwtm import CWTM
from understudy.methods.self_distillation.dkpp import DKPP
from understudy.objectives.base import Objective
from understudy.recipes.base import GIVEN, Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class BornAgain(Recipe):
    """Generations of one architecture.

    Attributes:
        generations: how many, 1 or more; the paper has up to 3.
        variant: "ban" (the teacher alone), "labels" (both in equal parts), "cwtm" or "dkpp".
    """

    generations: int = 3
    variant: Literal["ban", "labels", "cwtm", "dkpp"] = "ban"

    def __post_init__(self) -> None:
        if self.generations < 1:
            raise InputError(f"generations must be 1 or more, found {self.generations}")
        self._objective()

    def _objective(self) -> Objective:
        kinds: dict[str, Objective] = {
            "ban": SD(),
            "labels": 2.0 * SD(alpha=0.5),
            "cwtm": CWTM(),
            "dkpp": DKPP(),
        }
        if self.variant not in kinds:
            raise InputError(f"variant must be one of {', '.join(kinds)}, found {self.variant!r}")
        return kinds[self.variant]

    def stages(self, student: str) -> Sequence[Stage]:
        """The generations, each from weights of its own and taught by the one before."""
        names = [GIVEN, *(f"generation-{k}" for k in range(1, self.generations + 1))]
        return [
            Stage(name, student, self._objective(), names[k], reseed=k) for k, name in enumerate(names[1:])
        ]
