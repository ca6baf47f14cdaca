"""`Objective`: what is asked of the student on one batch. Objectives add and scale.

For example

    0.1 * CrossEntropy() + 0.9 * SoftTargets(temperature=4)
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.objectives.needs import EMBEDDING, MAP, Needs
from understudy.objectives.partner import Partner
from understudy.sources.base import AsIs, Source
from understudy.teachers.encoding import Dense, Encoding

__all__ = ["EMBEDDING", "MAP", "Needs", "Objective", "Sum", "ZeroWhen", "describe"]

ZeroWhen = Literal[
    "equal", "equal views", "right label", "right label, turned", "least", "elsewhere", "teacher's", "game"
]


class Objective(ABC):
    """Compares two models on a batch. Subclasses are frozen dataclasses of their hyperparameters.

    Traits, which say what `understudy.testing.check_method` holds the objective to:
        zero_when: term -> when it is 0: "equal" (student and teacher give the same answers on every view; the
            default), "equal views" (and every view is the same), "right label" (the student is certain of the
            true label), "right label, turned" (there too, and below 0 elsewhere: the student is pushed away from it),
            "least" (never stated, but lowest where student and teacher are equal), or "elsewhere"
            (lowest where the student's answers are those that `rest` gives), "teacher's" (the student has no part
            in it: it teaches the teacher), or "game" (what it comes to is up to networks of the objective's own).
        held: term -> the student's views that are a target there: no gradient flows to them.
        second_order: whether the values themselves hold gradients, so that the graph must be kept for two passes.
    """

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {}
    held: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    second_order: ClassVar[bool] = False

    @property
    def turned(self) -> frozenset[str]:
        """Terms whose gradient reaches the student with the opposite sign, on purpose."""
        return frozenset()

    @property
    def needs(self) -> Needs:
        """What it looks at; a class may set a plain `needs = Needs(...)` instead."""
        return Needs()

    @abstractmethod
    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Named terms, one value an example (B,), weights included: the loss is the sum of their means."""

    def source(self, low: float, high: float) -> Source:
        """What the student is shown, given the data's valid range."""
        return AsIs()

    @property
    def partners(self) -> Mapping[str, Partner]:
        """The other players by name; most methods have none."""
        return {}

    @property
    def average_from(self) -> float | None:
        """Share of the run, in [0, 1), after which the student's weights are averaged; None keeps the last ones."""
        return None

    def remember(self, student: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """With `needs.memory`: what to note of each example, by name, (B, ...) each. Called once a batch."""
        return {}

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        """With `needs.auxiliary`: new networks of its own, given two examples' answers, without gradient.

        Called once, in front of the first batch, with torch's global generator seeded; what it gives comes back as
        `batch.auxiliary`, is trained by the student's optimiser and saved in checkpoints, never with the student.
        """
        raise InputError(f"{type(self).__name__} needs networks of its own: define `build`")

    def dress(self, student: nn.Module, spec: str) -> tuple[nn.Module, str]:
        """(the student that the paper trains, its architecture's name), made of the one given; itself by default."""
        return student, spec

    def learner(self, teacher: nn.Module) -> nn.Module:
        """With `needs.trains_teacher`: the copy of the teacher that learns, trained by the student's optimiser."""
        return copy.deepcopy(teacher)

    @property
    def keeps(self) -> tuple[Encoding, float | None]:
        """(how a store keeps the teacher's answers for it, at which temperature; None is raw logits, for every one)."""
        return Dense(), None

    def settle(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """With `needs.settled`: notes by name, (B, ...) each, made of the answers to this batch without gradient.

        Called after the turns of the players that come before the student, in front of `terms`: a weight that depends
        on what the student says and is no part of what it learns from.
        """
        return {}

    def ahead(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """With `needs.ahead`: terms (B,) of the step before those views, its rate included: w - grad(their means).

        `student` holds the other views.
        """
        raise InputError(f"{type(self).__name__} has views one step ahead: define `ahead`")

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """`batch.notes` as source and `settle` might make them, the same for the same batch: for the battery."""
        return {}

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The student's logits (B, C) at which a term of the trait "elsewhere" is lowest, for the battery.

        `teacher` is the student's own outputs where no teacher is needed: they show how many classes there are.
        """
        raise InputError(f"{type(self).__name__} does not say where term {term!r} is lowest: define `rest`")

    def __add__(self, other: Objective) -> Sum:
        left = self.parts if isinstance(self, Sum) else ((1.0, self),)
        right = other.parts if isinstance(other, Sum) else ((1.0, other),)
        return Sum((*left, *right))

    def __mul__(self, weight: float) -> Sum:
        parts = self.parts if isinstance(self, Sum) else ((1.0, self),)
        return Sum(tuple((weight * w, part) for w, part in parts))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Sum(Objective):
    """A weighted sum of objectives, made by `+` and `*`."""

    parts: tuple[tuple[float, Objective], ...]

    @property
    def needs(self) -> Needs:
        """All that any part needs."""
        needs = self.parts[0][1].needs
        for _, part in self.parts[1:]:
            needs = needs | part.needs
        return needs

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The parts' terms, scaled; a name that occurs twice gets a number."""
        found: dict[str, Tensor] = {}
        for i, (weight, part) in enumerate(self.parts):
            own = batch.auxiliary[i] if isinstance(batch.auxiliary, nn.ModuleList) else batch.auxiliary
            seen = replace(batch, auxiliary=own) if own is not batch.auxiliary else batch
            for name, values in part.terms(student, teacher, seen).items():
                key, count = name, 2
                while key in found:
                    key, count = f"{name}_{count}", count + 1
                found[key] = weight * values
        return found

    def source(self, low: float, high: float) -> Source:
        """The one source among the parts that changes what is shown; two different ones cannot be added."""
        special = [s for s in (part.source(low, high) for _, part in self.parts) if not isinstance(s, AsIs)]
        if any(s != special[0] for s in special[1:]):
            raise InputError("two objectives in this sum each bring a source of their own; use one of them")
        return special[0] if special else AsIs()

    @property
    def partners(self) -> Mapping[str, Partner]:
        """The players of all parts; a name that two of them use is refused."""
        found: dict[str, Partner] = {}
        for _, part in self.parts:
            if twice := sorted(found.keys() & part.partners.keys()):
                raise InputError(f"two objectives in this sum bring the players {twice}; use one of them")
            found.update(part.partners)
        return found

    @property
    def average_from(self) -> float | None:
        """The earliest start of averaging among the parts."""
        starts = [part.average_from for _, part in self.parts if part.average_from is not None]
        return min(starts) if starts else None

    def dress(self, student: nn.Module, spec: str) -> tuple[nn.Module, str]:
        """As each part dresses it, one after the other."""
        for _, part in self.parts:
            student, spec = part.dress(student, spec)
        return student, spec

    def learner(self, teacher: nn.Module) -> nn.Module:
        """The copy of the one part that trains the teacher; two of them cannot be added."""
        parts = [part for _, part in self.parts if part.needs.trains_teacher]
        if len(parts) > 1:
            raise InputError("two objectives in this sum train the teacher; use one of them")
        return parts[0].learner(teacher)

    @property
    def keeps(self) -> tuple[Encoding, float | None]:
        """As the parts that ask the teacher want it; they must want the same."""
        wanted = {part.keeps for _, part in self.parts if part.needs.teacher}
        if len(wanted) > 1:
            raise InputError("the objectives of this sum want the teacher's answers kept in different ways")
        return wanted.pop() if wanted else super().keeps

    def settle(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """What the parts settle, together; a name that two of them use is refused."""
        return _together("note", [part.settle(student, teacher, batch) for _, part in self.parts])

    def ahead(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The terms of the one part that steps ahead; two of them cannot be added."""
        steps = [part for _, part in self.parts if part.needs.ahead]
        if len(steps) > 1:
            raise InputError("two objectives in this sum each step ahead; use one of them")
        return steps[0].ahead(student, teacher, batch)

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The parts' notes together; a name that two of them use is refused."""
        return _together("note", [part.rehearse(teacher, batch) for _, part in self.parts])

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        """The parts' networks, one a part."""
        return nn.ModuleList(
            part.build(student, teacher) if part.needs.auxiliary else nn.Identity() for _, part in self.parts
        )

    def remember(self, student: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """All that the parts note; a name that two of them use is refused."""
        return _together("remember", [part.remember(student, batch) for _, part in self.parts])


def _together(does: str, found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Several mappings as one. Raises InputError if two of them have a name in common."""
    every: dict[str, Tensor] = {}
    for one in found:
        if twice := sorted(every.keys() & one.keys()):
            raise InputError(f"two objectives in this sum {does} {twice} of each example; use one of them")
        every.update(one)
    return every


def describe(objective: Objective) -> dict[str, object]:
    """The objective as plain data for config.json: its class and every field."""
    if isinstance(objective, Sum):
        return {"sum": [{"weight": w, **describe(part)} for w, part in objective.parts]}
    name = f"{type(objective).__module__}:{type(objective).__qualname__}"
    return {"class": name, **{f.name: getattr(objective, f.name) for f in fields(objective)}}  # type: ignore[arg-type]
