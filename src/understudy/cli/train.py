"""`understudy train`: a teacher."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from understudy.cli import options as o
from understudy.cli.training import gather, show_run


class Robust(StrEnum):
    """How a teacher is made robust."""

    none = "none"
    pgd = "pgd"
    trades = "trades"


def train(
    data: o.DataMaybe = None,
    model: o.ModelMaybe = None,
    robust: Annotated[
        Robust | None, typer.Option("--robust", help="Adversarial training [default: none].")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="One without a teacher, in place of --robust: bce for several labels an example."
        ),
    ] = None,
    eps: o.Eps = None,
    norm: Annotated[o.Norm | None, typer.Option("--norm", help="Shape of the training ball.")] = None,
    set_: o.Set = None,
    epochs: o.Epochs = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    schedule: o.ScheduleOption = None,
    augment: o.AugmentOption = None,
    examples: o.Examples = None,
    out: o.Out = None,
    resume: o.Resume = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    devices: o.Devices = 1,
    quiet: o.Quiet = False,
) -> None:
    """Train a teacher: plainly, by PGD adversarial training, or by TRADES."""
    from understudy.api import ROBUST
    from understudy.errors import InputError

    if method is not None and robust is not None:
        raise InputError(f"give either --robust, found {robust.value}, or --method, found {method}")
    given: dict[str, Any] = {
        "data": data,
        "model": model,
        "method": method if robust is None else ROBUST[robust.value],
        "eps": o.one_radius(eps),
        "norm": None if norm is None else norm.value,
        "options": o.assignments(set_),
        "epochs": epochs,
        "seed": seed,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": None if schedule is None else schedule.value,
        "augment": None if augment is None else augment.value,
        "examples": examples,
    }
    request = gather("train", given, {"method": "ce"}, ("data", "model"), out, resume)
    show_run(request, out, resume, data_root, device.value, devices, quiet)
