"""`EstimatorRecipe`: a student that is fitted to a teacher's answers and not trained: a tree, an additive model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from understudy.models.estimators import Estimator


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to fit to.

    Attributes:
        inputs: (N, ...) in the data's valid range [low, high].
        labels: (N,), or None.
        classes: how many.
        names: what each input value is called.
        ask: inputs (B, ...) -> the teacher's logits (B, C); None where no teacher is given.
        scores: (N,) recorded answers of a black box that cannot be asked, or None.
        seed: of all randomness of the fit.
    """

    inputs: Float[Tensor, "n ..."]
    labels: Int[Tensor, " n"] | None
    classes: int
    names: tuple[str, ...]
    ask: Callable[[Tensor], Tensor] | None = None
    scores: Float[Tensor, " n"] | None = None
    low: float = 0.0
    high: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A finished fit.

    Attributes:
        student: what was fitted.
        loss: mean loss over the rows it was fitted to.
        facts: further numbers for metrics.jsonl.
        report: what else was found, as JSON types, for report.json; None if nothing was.
    """

    student: Estimator
    loss: float
    facts: dict[str, int | float] = field(default_factory=dict)
    report: dict[str, Any] | None = None


class EstimatorRecipe(ABC):
    """Fits the student in one go. Subclasses are frozen dataclasses of their hyperparameters.

    Attributes:
        needs_teacher: whether a teacher must be there to be asked.
    """

    needs_teacher: ClassVar[bool] = True

    @abstractmethod
    def fit(self, shown: Shown) -> Fitted:
        """The student.

        Raises:
            InputError: what it needs is not there.
        """
