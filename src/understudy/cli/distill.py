"""`understudy distill`: a student."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from understudy.cli import options as o
from understudy.cli.training import gather, show_run


def distill(
    teacher: o.TeacherMaybe = None,
    model: o.ModelMaybe = None,
    data: o.DataMaybe = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="One of `understudy methods`, or module:Class."),
    ] = None,
    eps: o.Eps = None,
    norm: Annotated[o.Norm | None, typer.Option("--norm", help="Shape of the training ball.")] = None,
    set_: o.Set = None,
    epochs: o.Epochs = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    augment: o.AugmentOption = None,
    examples: o.Examples = None,
    teacher_normalize: o.TeacherNormalize = None,
    out: o.Out = None,
    resume: o.Resume = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    devices: o.Devices = 1,
    quiet: o.Quiet = False,
) -> None:
    """Train a student from a teacher by a method of the catalogue or one of your own."""
    given: dict[str, Any] = {
        "teacher": teacher,
        "model": model,
        "data": data,
        "method": method,
        "eps": o.one_radius(eps),
        "norm": None if norm is None else norm.value,
        "options": o.assignments(set_),
        "epochs": epochs,
        "seed": seed,
        "batch_size": batch_size,
        "lr": lr,
        "augment": None if augment is None else augment.value,
        "examples": examples,
        "teacher_normalize": teacher_normalize,
    }
    request = gather("distill", given, {}, ("teacher", "model", "data", "method"), out, resume)
    show_run(request, out, resume, data_root, device.value, devices, quiet)
