"""The floor of fidelity: how far apart two teachers are that differ in their seed alone.

A student that is as near to its teacher as another teacher is, trained on the same data from another seed, copies all
that the data settle; what lies below is the teacher's own accident. A distance means little until it is read beside
this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.moments import Estimate, Moments, moments_of
from understudy.fidelity.streaming import DISTANCES, Fidelity, FidelityResult, per_example, summary

_NAMES = ("agreement", *DISTANCES)


@dataclass(frozen=True)
class FloorResult:
    """The pair's fidelity, the floor's, and how much farther than the floor the student is.

    pair: of the student to its teacher.
    floors: of each other teacher to this one, one a seed, in the order they were given.
    excess: by statistic, the student's distance less the mean distance of the other teachers; of the agreement, the
        other teachers' less the student's. Above 0 the student is farther from its teacher than teachers are from
        one another. Standard errors are of the difference of each example, and so hold for these teachers: what
        teachers of still other seeds would show, a spread over `floors` tells.
    """

    pair: FidelityResult
    floors: tuple[FidelityResult, ...]
    excess: dict[str, Estimate]


class FidelityBesideFloor:
    """`Fidelity` of a student and of other teachers to one teacher, on the same examples, at constant memory."""

    def __init__(self, others: int = 1) -> None:
        if others < 1:
            raise InputError(f"a floor needs one other teacher at least, found {others}")
        self._pair = Fidelity()
        self._floors = tuple(Fidelity() for _ in range(others))
        self._excess = {name: Moments() for name in _NAMES}

    def update(
        self,
        teacher_logits: Float[Tensor, "b c"],
        other_teachers: Sequence[Float[Tensor, "b c"]],
        student_logits: Float[Tensor, "b c"],
        labels: Int[Tensor, " b"] | None = None,
    ) -> None:
        """Takes in a batch: logits (B, C) of the student's teacher, of the teachers of other seeds, of the student.

        Raises:
            InputError: as `Fidelity.update` does, and for another number of other teachers than was announced.
                Nothing of the batch is then taken in.
        """
        if len(other_teachers) != len(self._floors):
            raise InputError(
                f"the floor is that of {len(self._floors)} other teachers, found logits of {len(other_teachers)}"
            )
        said = (student_logits, *other_teachers)
        values = [per_example(teacher_logits, logits) for logits in said]
        classes = teacher_logits.shape[1]
        self._pair.check_classes(classes)
        found = [
            summary(rows, teacher_logits, logits, labels) for rows, logits in zip(values, said, strict=True)
        ]
        excess = values[0] - torch.stack(values[1:]).mean(0)
        excess[0] *= -1.0  # an agreement is no distance
        for one, taken in zip((self._pair, *self._floors), found, strict=True):
            one.take(classes, taken)
        for name, moments in zip(_NAMES, moments_of(excess), strict=True):
            self._excess[name].merge(moments)

    def merge(self, other: FidelityBesideFloor) -> None:
        """Takes in what `other` has seen; InputError for another number of teachers or classes, or itself."""
        if len(other._floors) != len(self._floors):
            raise InputError(
                f"a floor of {len(self._floors)} teachers cannot take in one of {len(other._floors)}"
            )
        self._pair.merge(other._pair)
        for mine, theirs in zip(self._floors, other._floors, strict=True):
            mine.merge(theirs)
        for name, moments in other._excess.items():
            self._excess[name].merge(moments)

    def result(self) -> FloorResult:
        """Both, and the difference, over all examples so far; InputError before the first."""
        pair = self._pair.result()
        floors = tuple(one.result() for one in self._floors)
        return FloorResult(pair, floors, {name: one.estimate() for name, one in self._excess.items()})
