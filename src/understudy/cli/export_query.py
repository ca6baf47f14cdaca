"""`understudy export-query`: a question about a pair for other verifiers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.numbers import read_number


class Form(StrEnum):
    """What the exported network gives, and with it what is asked."""

    softmax = "softmax"
    margins = "margins"
    top1 = "top1"


class Sign(StrEnum):
    """Who is the more confident one."""

    plus = "+"
    minus = "-"


def export_query(
    teacher: o.Teacher,
    student: Annotated[
        str, typer.Option("--student", metavar="S", help="The student, in the same forms as --teacher.")
    ],
    data: o.Data,
    row: Annotated[int, typer.Option("--row", metavar="I", help="The row that is the ball's center.")],
    eps: Annotated[str, typer.Option("--eps", metavar="E", help="l_inf radius in the data's units.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write; it must be new or empty.")
    ],
    form: Annotated[
        Form, typer.Option("--form", help="Confidences, a linear condition on logits, or different classes.")
    ] = Form.softmax,
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="C", help="Can confidences differ by C? Not for top1."),
    ] = None,
    chosen: Annotated[
        int | None, typer.Option("--class", metavar="K", help="Ask about one class only.")
    ] = None,
    sign: Annotated[
        Sign | None, typer.Option("--sign", help="Only the teacher (+) or the student (-) above the other.")
    ] = None,
    separate: Annotated[bool, typer.Option("--separate", help="One VNN-LIB file a class and sign.")] = False,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Which part of the data set.")
    ] = "test",
    teacher_normalize: o.TeacherNormalize = None,
    student_normalize: o.StudentNormalize = None,
    data_root: o.DataRoot = None,
    quiet: o.Quiet = False,
) -> None:
    """Write the pair as one ONNX network and a question about a ball as VNN-LIB, for other verifiers."""
    from understudy import api

    done = api.export_query(
        teacher,
        student,
        data,
        row=row,
        eps=read_number("--eps", eps),
        out=out,
        form=form.value,
        threshold=None if threshold is None else read_number("--threshold", threshold),
        chosen=chosen,
        sign=None if sign is None else sign.value,
        separate=separate,
        split=split,
        teacher_normalize=teacher_normalize,
        student_normalize=student_normalize,
        data_root=data_root,
    )
    if not quiet:
        record = done.record
        typer.echo(f"{record.question}\nsat: {record.sat}\nunsat: {record.unsat}")
        typer.echo(f"{out / 'pair.onnx'}: {record.outputs} outputs; {', '.join(record.files)}")
