"""`Method`: a paper's objective, source and hyperparameters in one frozen dataclass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from understudy.attacks import Ascent, Ball, Norm
from understudy.attacks.ascent import Start
from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.objectives.base import Objective
from understudy.sources.attacked import Attacked
from understudy.sources.base import Net, Source


@dataclass(frozen=True, kw_only=True)
class Method(Objective):
    """A distillation method. Fields are the paper's hyperparameters with the paper's defaults.

    A subclass gives `needs` and `terms`; it overrides `source` if the student is shown more than the data.
    """

    def with_radius(self, eps: float, norm: Norm = "linf") -> Method:
        """The method at this training radius; methods that attack nothing return themselves."""
        return self

    def with_end(self, end: int | None) -> Method:
        """The method told the token that ends an answer, if there is one; those that generate nothing stay."""
        return self


@dataclass(frozen=True, kw_only=True)
class AdversarialMethod(Method):
    """A method that shows the student the worst point of a ball, as `inner` measures it.

    Attributes:
        eps: training radius in the data's units; None takes the one the run is given.
        norm: "linf" or "l2".
        steps: attack steps a training step.
        step_size: length of an attack step; None means eps / 4 (2/255 at 8/255, as the papers have it).
        restarts: attacks an example, the worst kept.
        start: "center", "uniform" in the ball, or "normal" (0.001 * N(0, 1) away).
        clip: whether attacked inputs stay in the data's valid range.
        attack_mode: mode of the student while it is attacked.
    """

    eps: float | None = None
    norm: Norm = "linf"
    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    start: Start = "uniform"
    clip: bool = True
    attack_mode: Literal["eval", "train"] = "eval"

    def __post_init__(self) -> None:
        if self.eps is not None:
            Ball(self.eps, self.norm, float("-inf"), float("inf"))
        Ascent(self.steps, self.step_size, self.restarts, self.start)
        if self.attack_mode not in ("eval", "train"):
            raise InputError(f"attack_mode must be 'eval' or 'train', found {self.attack_mode!r}")

    @abstractmethod
    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """What the attack drives up at `point` (B, ...), one value an example: (B,)."""

    @abstractmethod
    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Named terms, one value an example (B,)."""

    def with_radius(self, eps: float, norm: Norm = "linf") -> Method:
        """The method at this training radius, unless it states one of its own."""
        return self if self.eps is not None else replace(self, eps=eps, norm=norm)

    def source(self, low: float, high: float) -> Source:
        """The data with its attacked view."""
        if self.eps is None:
            raise InputError(f"{type(self).__name__} needs a training radius: state eps")
        if not self.clip:
            low, high = float("-inf"), float("inf")
        return Attacked(
            inner=self.inner,
            ball=Ball(self.eps, self.norm, low, high),
            ascent=Ascent(self.steps, self.step_size, self.restarts, self.start),
            train_mode=self.attack_mode == "train",
        )
