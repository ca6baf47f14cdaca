"""`understudy smooth`: a statistical bound for large networks and l_2 balls."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.numbers import read_number


class MeanBound(StrEnum):
    """Which upper confidence bound of a mean is computed."""

    betting = "betting"
    bernstein = "bernstein"
    clopper_pearson = "clopper-pearson"


def smooth(
    teacher: o.Teacher,
    student: o.Student,
    data: o.Data,
    sigma: Annotated[
        str,
        typer.Option("--sigma", metavar="X", help="Standard deviation of the noise, in the data's units."),
    ],
    out: o.NewFolder,
    split: o.Split = "test",
    eps: o.Eps = None,
    norm: Annotated[o.Norm, typer.Option("--norm", help="Shape of the ball.")] = o.Norm.l2,
    points: o.Points = None,
    start: o.Start = 0,
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="Noisy copies of a point.")] = 10_000,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="P", help="With which a point's bounds hold.")
    ] = 0.999,
    bound: Annotated[
        MeanBound, typer.Option("--bound", help="Which upper confidence bound of the mean.")
    ] = MeanBound.betting,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the noise.")] = 0,
    teacher_normalize: o.TeacherNormalize = None,
    student_normalize: o.StudentNormalize = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    quiet: o.Quiet = False,
) -> None:
    """Bound the pair's difference averaged over Gaussian noise, by randomised smoothing; write smooth.json."""
    from understudy import api

    done = api.smooth(
        teacher,
        student,
        data,
        sigma=read_number("--sigma", sigma),
        eps=o.radii(eps),
        norm=norm.value,
        split=split,
        points=points,
        start=start,
        samples=samples,
        confidence=confidence,
        bound=bound.value,
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

        from understudy.report.smoothing import smoothing_table

        Console().print(smoothing_table(done.record))
        typer.echo(f"record: {out / 'smooth.json'}")
