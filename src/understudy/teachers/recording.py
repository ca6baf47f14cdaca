"""`record_teacher`: ask a classifier about every example of a data set, in every view, and keep the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.data.batch import CLEAN, Batch
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.models.look import frozen, logits_of
from understudy.sources.base import AsIs, Cast
from understudy.teachers.encoding import Encoding
from understudy.teachers.identity import PLAIN, Identity
from understudy.teachers.replay import Replay
from understudy.teachers.writing import Tick, write_store


class _Absent(nn.Module):
    """Stands where the student will be."""

    def forward(self, inputs: Tensor) -> Tensor:
        raise InputError("a source that looks at the student cannot be stored: its views change as it learns")


def identity_of(
    teacher_sha256: str,
    data: DataSet,
    classes: int,
    *,
    replay: Replay | None = None,
    temperature: float | None = None,
    precision: str = "float32",
) -> Identity:
    """What a teacher's answers to a data set belong to; `replay` says how it was augmented, None not at all.

    `temperature` is None for raw logits; `precision` is the type of the teacher's weights.
    """
    return Identity(
        teacher=teacher_sha256,
        data=f"{data.name} ({data.split})",
        fingerprint=replace(data, labels=None, partly=False).fingerprint(),  # no label was asked for
        units=len(data),
        classes=classes,
        view=PLAIN if replay is None else replay.view,
        seed=0 if replay is None else replay.seed,
        views=1 if replay is None else replay.views,
        temperature=temperature,
        precision=precision,
    )


def record_teacher(
    folder: str | Path,
    teacher: nn.Module,
    teacher_sha256: str,
    data: DataSet,
    encoding: Encoding,
    *,
    replay: Replay | None = None,
    temperature: float | None = None,
    batch: int = 256,
    shard_units: int | None = None,
    tick: Tick | None = None,
) -> Identity:
    """Write a teacher's logits on `data` in `folder`, as `write_store` does; the identity to open them with.

    The teacher answers where its parameters are, frozen and in eval mode, and is left as it was.

    Raises:
        InputError: as `write_store`; a source in `replay` that looks at the student.
    """
    shown = replay if replay is not None else Replay(AsIs())
    first_weight = next(teacher.parameters(), torch.zeros(0))
    precision = str(first_weight.dtype).removeprefix("torch.")
    cast = Cast(_Absent(), None)

    def answer(view: int, first: int, stop: int) -> Tensor:
        plain = Batch(
            {CLEAN: data.inputs(slice(first, stop)).to(first_weight.device)}, torch.arange(first, stop)
        )
        return logits_of(teacher(shown.at(plain, view, cast).clean.to(first_weight)))

    with frozen(teacher), torch.inference_mode():
        classes = answer(0, 0, 1).shape[1]
        identity = identity_of(
            teacher_sha256, data, classes, replay=replay, temperature=temperature, precision=precision
        )
        write_store(folder, identity, encoding, answer, batch=batch, shard_units=shard_units, tick=tick)
    return identity
