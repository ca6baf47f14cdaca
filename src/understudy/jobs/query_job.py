"""A question about a pair, written so that other verifiers can be asked it: pair.onnx, VNN-LIB files, query.json."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from understudy.attacks import Ball
from understudy.data.dataset import DataSet
from understudy.errors import InputError, unknown
from understudy.jobs.audit_job import whole_folder
from understudy.jobs.opening import as_found, open_data, open_first, open_for
from understudy.models.export_query import Form, export_product, ordered_pairs
from understudy.models.opening import LoadedModel
from understudy.models.questions import ASKED, SAT, UNSAT, Sign, cases
from understudy.models.vnnlib import box_around, vnnlib
from understudy.training.folder import write_json, write_text
from understudy.version import __version__

Model = str | Path | nn.Module | LoadedModel
SCHEMA = 1
WIDEN = (
    1e-12  # by which a threshold on logits is lowered, so that rounding its logarithm drops no counterexample
)


@dataclass(frozen=True)
class QueryRecord:
    """query.json: what was asked, and what an answer means.

    `files`: file name -> the (class, sign) it asks about, null for all; `eps` is an l_inf radius around row `row`.
    """

    form: Form
    question: str
    sat: str
    unsat: str
    files: dict[str, tuple[int | None, Sign | None]]
    row: int
    eps: float
    threshold: float | None
    classes: int
    outputs: int
    low: float | None
    high: float | None
    shape: list[int]
    data: str
    split: str
    teacher_sha256: str
    student_sha256: str
    onnx_sha256: str
    understudy: str
    schema: int = SCHEMA


@dataclass(frozen=True, eq=False)
class ExportedQuery:
    """What was written, and where."""

    record: QueryRecord
    folder: Path


def export_query(
    teacher: Model,
    student: Model,
    data: Any,
    *,
    row: int,
    eps: float,
    out: str | Path,
    form: Form = "softmax",
    threshold: float | None = None,
    chosen: int | None = None,
    sign: Sign | None = None,
    separate: bool = False,
    split: str = "test",
    valid_range: tuple[float, float] | None = None,
    teacher_normalize: str | None = None,
    student_normalize: str | None = None,
    data_root: str | Path | None = None,
) -> ExportedQuery:
    """Write a pair as one ONNX network and a question about the l_inf ball around a row as VNN-LIB.

    "sat" always means that the input asked for exists, "unsat" that it does not.

    Args:
        teacher, student: anything `load` opens.
        data: as `train` takes it.
        row: the row of the split that is the ball's center.
        eps: l_inf radius in the data's units; the ball is cut with the valid range.
        out: folder for pair.onnx, query*.vnnlib and query.json.
        form: "softmax" (can confidences differ by the threshold: needs a tool that takes softmax), "margins" (a
            linear condition on logits, necessary for that: for tools that take none) or "top1" (can the two name
            different classes).
        threshold: the difference of confidences asked about, in (0, 1); not for "top1".
        chosen: ask about one class only; for "top1" the one that the teacher gives.
        sign: "+" asks only whether the teacher can be that much more confident, "-" the student.
        separate: one file a class and sign in place of one for all.

    Raises:
        InputError: something cannot be used; nothing has been written then.
    """
    if form not in get_args(Form):
        raise unknown("form", str(form), get_args(Form))
    if sign not in (None, *get_args(Sign)):
        raise InputError(f"sign must be + or -, found {sign!r}")
    if form == "top1" and (threshold is not None or sign is not None):
        raise InputError("the form top1 asks for different classes: it takes no threshold and no sign")
    if form != "top1" and (threshold is None or not 0 < threshold < 1):
        raise InputError(f"the form {form} needs a threshold between 0 and 1, found {threshold}")
    found = open_data(data, split, data_root=data_root, valid_range=valid_range)
    Ball(eps, "linf", found.low, found.high)
    if not 0 <= row < len(found):
        raise InputError(f"row must be one of 0..{len(found) - 1} of the split, found {row}")
    with as_found(teacher, student), whole_folder(Path(out)) as partial:
        one, found = open_first(found, data, teacher, teacher_normalize)
        other = open_for(found, student, student_normalize)
        point = found.inputs(slice(row, row + 1))
        onnx = partial / "pair.onnx"
        classes = export_product(one.module, other.module, onnx, _examples(point, found, eps), form, chosen)
        names = _parts(classes, form, chosen, sign, separate)
        words = {"threshold": 0.0 if threshold is None else threshold}
        record = QueryRecord(
            form=form,
            question=ASKED[form].format(**words),
            sat=SAT[form].format(**words),
            unsat=UNSAT[form].format(**words),
            files=names,
            row=row,
            eps=eps,
            threshold=threshold,
            classes=classes,
            outputs=_outputs(form, classes, chosen),
            low=found.low if math.isfinite(found.low) else None,
            high=found.high if math.isfinite(found.high) else None,
            shape=list(found.shape),
            data=found.name,
            split=found.split,
            teacher_sha256=one.sha256,
            student_sha256=other.sha256,
            onnx_sha256=sha256(onnx.read_bytes()).hexdigest(),
            understudy=__version__,
        )
        box = box_around(point.flatten().tolist(), eps, found.low, found.high)
        for name, (k, s) in names.items():
            disjunction = cases(form, classes, threshold, k, s, chosen)
            write_text(partial / name, vnnlib(box, record.outputs, disjunction, _comments(record, k, s)))
        write_json(partial / "query.json", asdict(record))
    return ExportedQuery(record, Path(out))


def _outputs(form: Form, classes: int, chosen: int | None) -> int:
    return {
        "softmax": classes,
        "top1": 2 * classes,
        "margins": 3 * len(ordered_pairs(classes, chosen)),
    }[form]


def _parts(
    classes: int, form: Form, chosen: int | None, sign: Sign | None, separate: bool
) -> dict[str, tuple[int | None, Sign | None]]:
    """File name -> the class and sign it asks about."""
    if not separate:
        return {"query.vnnlib": (chosen, sign)}
    asked = [k for k in range(classes) if chosen in (None, k)]
    if form == "top1":
        return {f"query-{k}.vnnlib": (k, None) for k in asked}
    signs: dict[Sign, str] = {"+": "plus", "-": "minus"}
    return {f"query-{k}-{signs[s]}.vnnlib": (k, s) for k in asked for s in signs if sign in (None, s)}


def _comments(record: QueryRecord, chosen: int | None, sign: Sign | None) -> list[str]:
    which = "all classes" if chosen is None else f"class {chosen}"
    if record.form != "top1":
        which += {None: ", both signs", "+": ", teacher above student", "-": ", student above teacher"}[sign]
    return [
        f"Asked of pair.onnx ({record.form}): {record.question}",
        f"About {which}; l_inf radius {record.eps!r} around row {record.row} of {record.data} ({record.split}).",
        f"sat: {record.sat}.",
        f"unsat: {record.unsat}.",
        "X: the input, flattened in row-major order. The box is rounded outward.",
    ]


def _examples(point: torch.Tensor, data: DataSet, eps: float) -> torch.Tensor:
    """The center and a few points of its ball, on which the exported file is checked: (5, *shape)."""
    generator = torch.Generator().manual_seed(0)
    noise = 2 * torch.rand(4, *point.shape[1:], generator=generator) - 1
    return torch.cat([point, point + eps * noise]).clamp(data.low, data.high)
