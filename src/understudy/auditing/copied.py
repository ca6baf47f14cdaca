"""What a student copied: its answers, where it looks, and its layers, held against the teacher's at a bounded cost."""

from __future__ import annotations

import time
from collections.abc import Callable

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
from understudy.models.normalize import Normalize, Normalized, body_of
from understudy.models.opening import LoadedModel

EXAMPLES, FEWEST, VALUES = 500, 64, 4_000_000  # at most, but of large inputs, and input values of all of them
SECONDS = 30.0  # that all of it may take, roughly; `FEWEST` are looked at however slow the models
_TIMED, _WORK = 8, 3  # examples that are timed; all the work on some costs so many times their answers
_PARTS = 3  # answers, maps, layers
TEACHERS = 3  # members of an ensemble that are looked at by themselves


def looked_at(available: int, values: int, start: int) -> slice:
    """The rows that are looked at: from `start` on, or the split's last ones, as many as the bounds allow.

    Args:
        available: examples in the split. values: of one input. start: the first examined row.
    """
    many = min(available, EXAMPLES, max(FEWEST, VALUES // max(values, 1)))
    first = min(start, available - many)
    return slice(first, first + many)


def affordable(available: int, seconds: float) -> int:
    """How many of `available` examples fit into `SECONDS`, `FEWEST` at least, if both answer `_TIMED` in `seconds`."""
    fitting = int(SECONDS * _TIMED / (_WORK * max(seconds, 1e-9)))
    return min(available, max(FEWEST, fitting))


def _answering(pair: Pair, inputs: Tensor) -> float:
    """Seconds until both models have answered; the lesser of two goes, as the first also sets things up."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        pair.exact_logits(inputs)[1].sum().item()  # waits for the device
        taken.append(time.perf_counter() - began)
    return min(taken)


def look_closer(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    start: int,
    device: torch.device,
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[CopiedRecord, dict[str, Tensor]]:
    """What the student copied on rows of the data set as they are, and the maps to be shown (`copied_maps`).

    An ensemble's members are looked at one by one. What a pair does not allow is left out and named. `tell` hears
    which of the parts begins, how many are done, and of how many.

    Raises:
        InputError: logits that cannot be compared.
    """
    began = time.perf_counter()
    tell("answers", 0, _PARTS)
    rows = looked_at(len(data), data.inputs(slice(0, 1)).numel(), start)
    pair = Pair(teacher.module.to(device), student.module.to(device))
    weights = [p for m in (pair.teacher, pair.student) for p in m.parameters() if p.is_floating_point()]
    single = all(p.dtype == torch.float32 for p in weights)
    one, other = (pair.teacher, pair.student) if single else (pair.exact_teacher, pair.exact_student)
    inputs = data.inputs(rows).to(device, torch.float32 if single else torch.float64)
    if len(inputs) > FEWEST:
        inputs = inputs[: affordable(len(inputs), _answering(pair, inputs[:_TIMED]))]
        rows = slice(rows.start, rows.start + len(inputs))
    logits = pair.exact_logits(inputs)
    sound = torch.stack([said.isfinite().all(1) for said in logits]).all(0)
    if not sound.any():
        raise InputError(f"no row from {rows.start} to {rows.stop - 1} has finite logits of both models")
    inputs, logits = inputs[sound], (logits[0][sound], logits[1][sound])
    every, kept = torch.arange(rows.start, rows.stop), sound.cpu()
    numbers, left_out = every[kept].tolist(), every[~kept].tolist()
    labels, skipped = _labels(data, numbers, device)
    attention: AttentionRecord | None = None
    layers: list[LayersRecord] = []
    shown: dict[str, Tensor] = {}
    if closed := _closed(one, other):
        skipped |= dict.fromkeys(("attention", "layers"), closed)
    else:
        teachers = _members(one)
        tell("where both look", 1, _PARTS)
        try:
            alone = (
                [logits[0].argmax(1)] if len(teachers) == 1 else [_classes(m, inputs) for _, m in teachers]
            )
            said = [*alone, logits[1].argmax(1)]
            attention, shown = copied_maps(
                teachers, other, inputs, said, logits[0].argmax(1), labels, numbers
            )
        except InputError as error:
            skipped["attention"] = str(error)
        tell("layers", 2, _PARTS)
        try:
            layers = copied_layers(teachers, other, inputs)
        except InputError as error:
            skipped["layers"] = str(error)
    answers = copied_answers(*logits, labels)
    tell("all", _PARTS, _PARTS)
    seconds = round(time.perf_counter() - began, 3)
    found = CopiedRecord(rows.start, len(inputs), answers, attention, layers, seconds, skipped, left_out)
    return found, shown


def _labels(data: DataSet, rows: list[int], device: torch.device) -> tuple[Tensor | None, dict[str, str]]:
    """The rows' labels; None where there are none, or some lack theirs, with the reason."""
    if data.labels is None:
        return None, {}
    labels = data.labels[torch.tensor(rows, dtype=torch.long)]
    if labels.dim() > 1:
        return None, {"labels": "an example bears several"}
    if lacking := int((labels < 0).sum()):
        return None, {"labels": f"{lacking} of the {len(labels)} examples have none"}
    return labels.to(device), {}


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
    team = body_of(teacher)
    if not isinstance(team, Team | MeanConfidence):
        return [("teacher", teacher)]
    members: list[nn.Module] = list(team.members)[:TEACHERS]
    if isinstance(teacher, Normalized):  # each gets what the team gets
        members = [_normalized(member, teacher.normalize) for member in members]
    return [(f"teacher {i}", member) for i, member in enumerate(members, 1)]


def _normalized(member: nn.Module, like: Normalize) -> Normalized:
    mean, std = (tuple(values.flatten().tolist()) for values in (like.mean, like.std))
    made = Normalized(member, mean, std, like.mean.dim())
    made.normalize.to(like.mean)
    return made


@torch.no_grad()
def _classes(model: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([logits_of(model(part)).argmax(1) for part in inputs.split(100)])
