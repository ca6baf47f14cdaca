"""`Partner`: another player beside the student, with networks, an optimiser and a loss of its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.models.outputs import Outputs
from understudy.sources.base import Cast

OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True, eq=False)
class Turn:
    """What a partner sees when its turn comes.

    Attributes:
        batch: as the student is shown it, with the views, notes and parts that it was given.
        student, teacher: what they said about it in this step, without gradient.
        cast: the models themselves, the partners among them. Gradients through them reach the partner that takes
            the turn and nobody else.
        random: the partner's own randomness.
    """

    batch: Batch
    student: Outputs
    teacher: Outputs
    cast: Cast
    random: Randomness


@dataclass(frozen=True, kw_only=True)
class Partner(ABC):
    """A generator, a discriminator, a policy, a teacher that learns along. Trained and saved beside the student.

    Attributes:
        lr: learning rate, above 0; it follows the run's schedule.
        optimizer: "adam", "adamw" or "sgd" (momentum .9).
        weight_decay: of the optimiser.
        every: student's steps from one turn to the next, 1 or more.
        steps: its own steps a turn, 1 or more.
        after: whether its turn comes after the student's step (and sees the student as that left it), or before.
    """

    lr: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    every: int = 1
    steps: int = 1
    after: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of a partner must be 1 or more, found {getattr(self, name)}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"a partner's lr must be a finite number above 0, found {self.lr}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"a partner's weight_decay must be 0 or more, found {self.weight_decay}")
        if self.optimizer not in OPTIMIZERS:
            raise unknown("a partner's optimizer", str(self.optimizer), OPTIMIZERS)

    @abstractmethod
    def build(self, batch: Batch, cast: Cast) -> nn.Module:
        """Its networks, given the first batch as the data give it; torch's global generator is seeded."""

    @abstractmethod
    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        """Named terms, one value an example (N,): the sum of their means is what its optimiser lowers; none to rest."""
