"""TAKD: distillation through assistants of sizes in between (Mirzadeh et al., arXiv 1902.03393, AAAI 2020).

Where a teacher is much larger than its student, a network of a size in between learns from the teacher first, and
the student learns from that assistant alone; and so on along a chain of assistants.

    stage k:  (1 - a) CE(s_k(x), y) + a T^2 KL(t_T(x) || s_T(x)),   t = s_{k-1}, s_0 the teacher, T the temperature

Needs: architectures of decreasing size, labels unless a = 1. Cost: a training an assistant.
Known failure: errors add up along a chain; and a chain gets more training than one stage, so plain distillation
deserves the same budget in a comparison.
Reconstructed: the released code divides the soft term by the number of classes as well (an element-wise mean), so
its a and T are not these; it keeps each stage's best epoch by test accuracy, here the last epoch teaches. The paper
tunes a and T a stage; the defaults are those of its catalogue's small run.
Measured (examples/teacher_assistant.py, digits, 256 - 16 - 4 hidden units, T = 5, a = .9, 40 epochs, 3 seeds): KL from
the model that taught it .807, .492, .505 with the assistant and 1.470, .599, 1.132 without; test accuracy of the
student .622, .753, .760 with it and .373, .751, .556 without (with the assistant it has had twice the training).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import InputError
from understudy.methods.robust.kd import SD
from understudy.recipes.base import GIVEN, Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class TeacherAssistant(Recipe):
    """Distillation through assistants.

    Attributes:
        assistants: their architectures, the largest first, separated by ";", such as "mlp[64,64];mlp[32,32]"; none
            is plain distillation.
        temperature: T, above 0.
        alpha: a, share of the soft term.
    """

    assistants: str = ""
    temperature: float = 5.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        self._objective()
        if any(not one for one in self._chain()):
            raise InputError(f"assistants must be architectures separated by ';', found {self.assistants!r}")

    def _objective(self) -> SD:
        return SD(temperature=self.temperature, alpha=self.alpha)

    def _chain(self) -> list[str]:
        return [one.strip() for one in self.assistants.split(";")] if self.assistants.strip() else []

    def stages(self, student: str) -> Sequence[Stage]:
        """The assistants, each taught by the one before, then the student."""
        found: list[Stage] = []
        for number, model in enumerate([*self._chain(), student], start=1):
            last = number > len(self._chain())
            name = "student" if last else f"assistant-{number}"
            found.append(Stage(name, model, self._objective(), found[-1].name if found else GIVEN))
        return found
