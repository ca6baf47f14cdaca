"""What `train` and `distill` share: options merged with those of a run that is resumed, and the closing lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy.jobs.training_job import TrainingRequest


def gather(
    command: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    required: Sequence[str],
    out: Path | None,
    resume: Path | None,
) -> TrainingRequest:
    """The request that the options make; with `resume`, what is not given is what the run was started with.

    Raises:
        InputError: an option that is needed is missing, or both or neither of --out and --resume are given.
    """
    from understudy.jobs.training_job import TrainingRequest, saved_request

    if (out is None) == (resume is None):
        raise InputError("give --out DIR for a new run, or --resume DIR for one that exists")
    fields = {"model": None, **defaults}
    if resume is not None:
        saved = saved_request(resume)
        if saved.get("command") not in (command, "compare"):
            raise InputError(f"{resume} was not started by `understudy {command}`")
        fields.update(saved)
    command = fields.pop("command", command)
    fields.update({name: value for name, value in given.items() if value is not None})
    for name in required:
        if fields.get(name) is None:
            raise InputError(f"understudy {command} needs --{name}")
    return TrainingRequest(command=command, **fields)


def show_run(
    request: TrainingRequest,
    out: Path | None,
    resume: Path | None,
    data_root: Path | None,
    device: str,
    devices: int,
    quiet: bool,
) -> None:
    """Run the training and say where it lies and how it ended."""
    from understudy.jobs.recipe_job import run_distillation

    run = run_distillation(
        request, out=out, resume=resume, data_root=data_root, device=device, devices=devices, quiet=quiet
    )
    if quiet:
        return
    last = run.curves[-1]
    said = [f"loss {last['loss']:.4f}"]
    if "train_accuracy" in last:
        said.append(f"accuracy {last['train_accuracy']:.3f}")
    if "train_map" in last:
        said.append(f"mean average precision {last['train_map']:.3f}")
    if "agreement" in last:
        said.append(f"agreement with the teacher {last['agreement']:.3f}")
    typer.echo(f"{run.folder}: epoch {last['epoch']}, {', '.join(said)} (training data), {run.seconds:.1f} s")
