"""`understudy audit`: how far a student may stand in for its teacher."""

from __future__ import annotations

from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.errors import GateFailed


def audit(
    teacher: o.Teacher,
    student: o.Student,
    data: o.Data,
    out: o.NewFolder,
    split: o.Split = "test",
    eps: o.Eps = None,
    points: o.Points = None,
    start: o.Start = 0,
    all_points: Annotated[
        bool, typer.Option("--all-points", help="Count points that the teacher gets wrong too.")
    ] = False,
    certify: Annotated[
        o.Certify, typer.Option("--certify", help="Which upper bound, from fast and loose to slow and exact.")
    ] = o.Certify.crown,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            help="Seconds a point and radius for the bound [default: 30 for exact and milp, else none].",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="TOL", help="Exact when upper - lower is at most this.")
    ] = 1e-4,
    certificates: Annotated[
        bool,
        typer.Option(
            "--certificates", help="Keep every proof of alpha or exact as a file that can be checked."
        ),
    ] = False,
    copied: Annotated[
        bool,
        typer.Option(
            "--copied/--no-copied",
            help="Measure what the student copied: its answers, where both look, their layers.",
        ),
    ] = True,
    fail_above: Annotated[
        float | None,
        typer.Option("--fail-above", metavar="DELTA", help="Exit with 1 if any upper bound lies above this."),
    ] = None,
    norm: Annotated[o.Norm, typer.Option("--norm", help="Shape of the ball.")] = o.Norm.linf,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the attacks' random starts.")] = 0,
    teacher_normalize: o.TeacherNormalize = None,
    student_normalize: o.StudentNormalize = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    quiet: o.Quiet = False,
) -> None:
    """Measure, attack and bound how far teacher and student differ; write audit.json and report.html."""
    from understudy import api

    failed: GateFailed | None = None
    try:
        record = api.audit(
            teacher,
            student,
            data,
            eps=o.radii(eps),
            split=split,
            points=points,
            start=start,
            all_points=all_points,
            certify=certify.value,
            time_limit=time_limit,
            tolerance=tolerance,
            certificates=certificates,
            fail_above=fail_above,
            norm=norm.value,
            seed=seed,
            teacher_normalize=teacher_normalize,
            student_normalize=student_normalize,
            out=out,
            data_root=data_root,
            device=device.value,
            quiet=quiet,
            copied=copied,
        ).record
    except GateFailed as error:
        from understudy.auditing.files import read_audit

        failed, record = error, read_audit(out)
    if not quiet:
        from rich.console import Console

        from understudy.report.table import audit_table

        Console().print(audit_table(record))
        if certificates:
            from understudy.auditing.certificates import FOLDER, certificate_sizes

            sizes = certificate_sizes(out, record)
            largest = f", the largest {max(sizes) / 1e6:.2f} MB" if sizes else ""
            typer.echo(f"certificates: {len(sizes)}, {sum(sizes) / 1e6:.2f} MB{largest}, in {out / FOLDER}")
        typer.echo(f"page: {out / 'report.html'}")
    if failed is not None:
        raise failed
