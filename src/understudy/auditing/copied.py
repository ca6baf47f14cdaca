"""What a student copied: its answers, where it looks, and its layers, held against the teacher's at a bounded cost."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from understudy.auditing.copied_answers import copied_answers
from understudy.auditing.copied_layers import copied_layers
from understudy.auditing.copied_maps import copied_maps
from understudy.auditing.copied_record import AttentionRecord, CopiedRecord, LayersRecord
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity.emplb import Pair
from understudy.models.ensemble import MeanConfidence, Team
from understudy.models.estimators import without_gradients
from understudy.models.gcn import InGraph
from understudy.models.look import logits_of
from understudy.models.opening import LoadedModel

EXAMPLES, FEWEST, VALUES = 500, 64, 4_000_000  # at most, but of large inputs, and input values of all of them
TEACHERS = 3  # members of an ensemble that are looked at by themselves


def looked_at(available: int, values: int, start: int) -> slice:
    """The rows that are looked at: from `start` on, or the split's last ones, as many as the bounds allow.

    Args:
        available: examples in the split. values: of one input. start: the first examined row.
    """
    many = min(available, EXAMPLES, max(FEWEST, VALUES // max(values, 1)))
    first = min(start, available - many)
    return slice(first, first + many)


def look_closer(
    teacher: LoadedModel, student: LoadedModel, data: DataSet, start: int, device: torch.device
) -> tuple[CopiedRecord, dict[str, Tensor]]:
    """What the student copied on rows of the data set as they are, and the maps to be shown (`copied_maps`).

    An ensemble's members are looked at one by one. What a pair does not allow is left out and named.

    Raises:
        InputError: logits that cannot be compared.
    """
    began = time.perf_counter()
    rows = looked_at(len(data), data.inputs(slice(0, 1)).numel(), start)
    pair = Pair(teacher.module.to(device), student.module.to(device))
    labels = None if data.labels is None else data.labels[rows].to(device)
    weights = [p for m in (pair.teacher, pair.student) for p in m.parameters() if p.is_floating_point()]
    single = all(p.dtype == torch.float32 for p in weights)
    one, other = (pair.teacher, pair.student) if single else (pair.exact_teacher, pair.exact_student)
    inputs = data.inputs(rows).to(device, torch.float32 if single else torch.float64)
    logits = pair.exact_logits(inputs)
    skipped: dict[str, str] = {}
    attention: AttentionRecord | None = None
    layers: list[LayersRecord] = []
    shown: dict[str, Tensor] = {}
    if closed := _closed(one, other):
        skipped = dict.fromkeys(("attention", "layers"), closed)
    else:
        teachers = _members(one)
        try:
            alone = (
                [logits[0].argmax(1)] if len(teachers) == 1 else [_classes(m, inputs) for _, m in teachers]
            )
            said = [*alone, logits[1].argmax(1)]
            attention, shown = copied_maps(
                teachers, other, inputs, said, logits[0].argmax(1), labels, rows.start
            )
        except InputError as error:
            skipped["attention"] = str(error)
        try:
            layers = copied_layers(teachers, other, inputs)
        except InputError as error:
            skipped["layers"] = str(error)
    answers = copied_answers(*logits, labels)
    seconds = round(time.perf_counter() - began, 3)
    return CopiedRecord(rows.start, len(inputs), answers, attention, layers, seconds, skipped), shown


def _closed(teacher: nn.Module, student: nn.Module) -> str:
    """Why there are no layers that answer for one example each, in words; "" where there are."""
    for who, model in (("teacher", teacher), ("student", student)):
        if (spec := without_gradients(model)) is not None:
            return f"the {who} is {spec}, which has no layers"
        if isinstance(model, InGraph):
            return f"the {who} answers for a whole graph at once, not for one example"
    return ""


def _members(teacher: nn.Module) -> list[tuple[str, nn.Module]]:
    """The teacher, or the first members of an ensemble, each with its name on the page."""
    if not isinstance(teacher, Team | MeanConfidence):
        return [("teacher", teacher)]
    return [(f"teacher {i}", member) for i, member in enumerate(list(teacher.members)[:TEACHERS], 1)]


@torch.no_grad()
def _classes(model: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([logits_of(model(part)).argmax(1) for part in inputs.split(100)])
