"""`StoredAnswers`: a teacher that is not asked, because its answers are there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from understudy.data.batch import CLEAN, Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs, View
from understudy.objectives.base import Objective
from understudy.sources.base import Source
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

    def check(self, objective: Objective, source: Source) -> None:
        """Whether stored answers are all that is asked of the teacher.

        Raises:
            InputError: the objective looks at more than the clean view's logits, or another source is used.
        """
        needs = objective.needs
        if tuple(needs.teacher) != (CLEAN,):
            raise InputError(
                f"stored answers are of the clean view, {type(objective).__name__} asks the teacher about "
                f"{list(needs.teacher) or 'nothing'}: leave `stored` out"
            )
        more = {
            "features": needs.features, "heads": needs.heads, "gradients": needs.teacher_grad,
            "the teacher to learn": needs.trains_teacher, "examples kept apart": needs.validation,
            "other players": objective.partners, "text": needs.tokens,
        }  # fmt: skip
        if wanted := [name for name, asked in more.items() if asked]:
            raise InputError(
                f"{type(objective).__name__} wants {', '.join(wanted)}: a store holds logits; leave `stored` out"
            )
        if source is not self.replay:
            raise InputError(
                f"{type(objective).__name__} shows the student what the teacher was not asked about"
            )
