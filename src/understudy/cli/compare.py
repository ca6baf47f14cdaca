"""`understudy compare`: several methods, several seeds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.errors import InputError


def compare(
    teacher: o.Teacher,
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="mlp, cnn, resnet20, vit, ...; or 'mlp[64,64]'.")
    ],
    data: o.Data,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="A,B,C",
            help="Names (sd,ard,fd), families (robust, logits, relations, ..., recipes), or all.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write, or to continue.")],
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N,N", help="Seeds, separated by commas.")
    ] = "0,1,2",
    train_eps: Annotated[
        str | None, typer.Option("--train-eps", metavar="E", help="Training radius; default by data set.")
    ] = None,
    eps: o.Eps = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Which part of the data set is audited.")
    ] = "test",
    points: Annotated[
        int | None, typer.Option("--points", metavar="N", help="How many rows are audited.")
    ] = None,
    certify: Annotated[o.Certify, typer.Option("--certify", help="Which upper bound.")] = o.Certify.crown,
    norm: Annotated[o.Norm, typer.Option("--norm", help="Shape of the ball.")] = o.Norm.linf,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    schedule: o.ScheduleOption = None,
    augment: o.AugmentOption = None,
    examples: o.Examples = None,
    teacher_normalize: o.TeacherNormalize = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Runs at once, a process and a core each; 0: all in this one [default: as many as cores, 1 on a GPU].",
        ),
    ] = None,
    resume: o.Resume = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    devices: o.Devices = 1,
    quiet: o.Quiet = False,
) -> None:
    """Train, audit and judge methods against plain distillation, seed by seed; continues its own folder."""
    if resume is not None:
        raise InputError("compare continues its own folder: give it as --out again")
    from understudy import api
    from understudy.numbers import read_number

    try:
        numbers = tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise InputError(f"--seeds takes whole numbers separated by commas, found {seeds!r}") from None
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": None if schedule is None else schedule.value,
        "augment": None if augment is None else augment.value,
        "examples": examples,
        "teacher_normalize": teacher_normalize,
    }
    done = api.compare(
        teacher,
        model,
        data,
        methods=methods,
        seeds=numbers,
        train_eps=None if train_eps is None else read_number("--train-eps", train_eps),
        eps=o.radii(eps),
        out=out,
        split=split,
        points=points,
        certify=certify.value,
        norm=norm.value,
        workers=_workers(device) if workers is None else workers,
        data_root=data_root,
        device=device.value,
        devices=devices,
        quiet=quiet,
        **{name: value for name, value in given.items() if value is not None},
    )
    if not quiet:
        from rich.console import Console

        from understudy.report.table import compare_table

        Console().print(compare_table(done.content))
        typer.echo(f"page: {out / 'report.html'}")


def _workers(device: o.Device) -> int:
    """One process a core; a GPU is for one at a time."""
    import torch

    from understudy.jobs.comparison_workers import cores

    on_gpu = device is o.Device.cuda or (device is o.Device.auto and torch.cuda.is_available())
    return 1 if on_gpu else cores()
