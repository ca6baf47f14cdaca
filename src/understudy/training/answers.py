"""`StoredAnswers`: a teacher that is not asked, because its answers are there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from understudy.data.batch import CLEAN, Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs, View
from understudy.objectives.base import Objective
from understudy.teachers.keeping import notes_of
from understudy.teachers.replay import Replay
from understudy.teachers.store import TeacherStore
from understudy.teachers.targets import DenseTargets


@dataclass(frozen=True)
class StoredAnswers:
    """A store, and the replay that shows the student what the teacher saw."""

    store: TeacherStore
    replay: Replay

    def read(self, batch: Batch) -> tuple[Outputs, dict[str, torch.Tensor]]:
        """(the teacher's answers, notes): logits of the clean view from a dense store, notes from a sparse one."""
        targets = self.store.read(batch.index, self.replay.number(batch)).to(batch.index.device)
        if isinstance(targets, DenseTargets):
            return Outputs({CLEAN: View(targets.logits)}), {}
        return Outputs({}), notes_of(targets)


def check_storable(objective: Objective, teacher: object) -> None:
    """Whether stored answers are all that an objective asks of its teacher.

    Raises:
        InputError: there is no teacher; or the objective looks at more than the clean view's logits.
    """
    needs, name = objective.needs, type(objective).__name__
    if tuple(needs.teacher) != (CLEAN,) or teacher is None:
        raise InputError(
            f"stored answers are of the clean view, {name} asks the teacher about "
            f"{list(needs.teacher) or 'nothing'}: leave `stored` out"
        )
    more = {
        "features": needs.features, "heads": needs.heads, "gradients": needs.teacher_grad,
        "the teacher to learn": needs.trains_teacher, "examples kept apart": needs.validation,
        "other players": objective.partners, "text": needs.tokens, "a graph": needs.edges, "vectors": needs.vectors,
    }  # fmt: skip
    if wanted := [what for what, asked in more.items() if asked]:
        raise InputError(f"{name} wants {', '.join(wanted)}: a store holds logits; leave `stored` out")
