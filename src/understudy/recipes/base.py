"""`Recipe`: several trainings in a row, each a student of the given teacher or of an earlier stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import InputError
from understudy.objectives.base import Objective
from understudy.recipes.choice import Choice

GIVEN = "teacher"  # the teacher that the recipe is given, as a stage's teacher


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        name: what later stages call its model, and its folder.
        model: architecture, as `--model` takes it.
        objective: what its student is asked.
        teacher: `GIVEN` or an earlier stage's name.
        reseed: added to the run's seed, for its first weights and the order of its data.
        choice: decides, when its turn comes, which examples it is shown and which of their labels; None shows all.
    """

    name: str
    model: str
    objective: Objective
    teacher: str = GIVEN
    reseed: int = 0
    choice: Choice | None = None


class Recipe(ABC):
    """Says which trainings make the student. Subclasses are frozen dataclasses of their hyperparameters."""

    @abstractmethod
    def stages(self, student: str) -> Sequence[Stage]:
        """The trainings in their order; the last one's model, of architecture `student`, is the result."""


class TextRecipe:
    """Makes the texts that its student is trained on by asking models that answer text."""


def check_stages(stages: Sequence[Stage]) -> None:
    """Whether they can be run one after the other.

    Raises:
        InputError: there is none, a name twice or that of the given teacher, or a teacher that is not yet there.
    """
    if not stages:
        raise InputError("a recipe needs one stage at least, found none")
    known = [GIVEN]
    for stage in stages:
        if stage.name in known:
            raise InputError(f"every stage needs a name of its own, found {stage.name!r} again")
        if stage.teacher not in known:
            raise InputError(
                f"stage {stage.name!r} is taught by {stage.teacher!r}, which is none of {', '.join(known)}"
            )
        known.append(stage.name)
