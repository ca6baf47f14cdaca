"""A training from stored answers: the teacher is asked once about every example, and then no more by its students."""

from __future__ import annotations

from pathlib import Path

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.jobs.progress import Progress
from understudy.jobs.request import TrainingRequest
from understudy.models.opening import LoadedModel
from understudy.objectives.base import Objective
from understudy.sources import Augmented, Source
from understudy.sources.base import AsIs, Chain
from understudy.teachers import Replay, open_store, record_teacher
from understudy.training.answers import StoredAnswers, check_storable

__all__ = ["check_storable", "replay_of", "stored_answers"]


def replay_of(request: TrainingRequest, objective: Objective, data: DataSet, source: Source) -> Replay:
    """The source with draws that belong to the example, so that the student sees what the teacher saw.

    Raises:
        InputError: the objective brings a source of its own, or several views of data that are not augmented.
    """
    own = objective.source(data.low, data.high)
    if not isinstance(own, AsIs):
        raise InputError(
            f"method {request.method!r} shows the student more than the data: its teacher's answers cannot be stored"
        )
    inner = source.sources[0] if isinstance(source, Chain) else source
    if request.stored_views > 1 and not isinstance(inner, Augmented):
        raise InputError("the data are shown as they are: there is one view to store, not several")
    return Replay(inner, seed=request.seed, views=request.stored_views)


def stored_answers(
    folder: str | Path,
    teacher: LoadedModel | None,
    data: DataSet,
    objective: Objective,
    replay: Source,
    quiet: bool,
) -> StoredAnswers:
    """The teacher's answers in `folder`, asked for first where they are not there yet (or not all of them).

    Raises:
        InputError: the folder holds answers of another teacher, data set, view, temperature or encoding.
    """
    assert isinstance(replay, Replay)
    assert teacher is not None
    encoding, temperature = objective.keeps
    shown = replay if isinstance(replay.inner, Augmented) else None
    with Progress("asking the teacher", quiet) as bar:
        identity = record_teacher(
            folder, teacher.module, teacher.sha256, data, encoding,
            replay=shown, temperature=temperature, tick=bar.update,
        )  # fmt: skip
    return StoredAnswers(open_store(folder, identity), replay)
