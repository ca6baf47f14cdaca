"""`understudy fidelity`: how near a student is to its teacher, on which data, beside other teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o


def fidelity(
    teacher: o.Teacher,
    student: o.Student,
    data: o.Data,
    out: o.NewFolder,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--other-teacher",
            metavar="T",
            help="A teacher of another seed, to hold both against; repeatable.",
        ),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="KIND,KIND", help="Kinds of data.")
    ] = "training,augmented,test,shifted",
    training: Annotated[
        str | None,
        typer.Option("--training", metavar="D", help="The training set, if --data has no such split."),
    ] = None,
    shifted: Annotated[
        str | None,
        typer.Option("--shifted", metavar="D", help="A shifted data set [default: test data under noise]."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise", metavar="S", help="Its standard deviation [default: a tenth of the valid range]."
        ),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option("--pixels", metavar="N", help="Largest shift of augmented images [default: 1]."),
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Mirror half of the augmented images.")] = False,
    examples: Annotated[
        int | None, typer.Option("--examples", metavar="N", help="The first N of each kind [default: all].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of augmentation and noise.")] = 0,
    teacher_normalize: o.TeacherNormalize = None,
    student_normalize: o.StudentNormalize = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    quiet: o.Quiet = False,
) -> None:
    """Measure how near a student is to its teacher on several kinds of data; write fidelity.json and report.html."""
    from understudy import api

    kinds = tuple(part.strip() for part in on.split(",") if part.strip())
    done = api.measure_fidelity(
        teacher,
        student,
        data,
        others=other or (),
        on=kinds,  # type: ignore[arg-type]  # checked there
        training=training,
        shifted=shifted,
        noise=noise,
        pixels=pixels,
        mirror=mirror,
        examples=examples,
        seed=seed,
        teacher_normalize=teacher_normalize,
        student_normalize=student_normalize,
        out=out,
        data_root=data_root,
        device=device.value,
        quiet=quiet,
    )
    if not quiet:
        from rich.console import Console

        from understudy.report.fidelity_table import fidelity_table

        Console().print(fidelity_table(done.record))
        typer.echo(f"page: {Path(out) / 'report.html'}")
