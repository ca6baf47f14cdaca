"""`understudy export`: the student alone, for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.errors import InputError


def export(
    student: Annotated[str, typer.Argument(metavar="S", help="A run folder or any other form of a model.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The ONNX file to write.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="The data set, for a model that does not know its input shape."),
    ] = None,
    data_root: o.DataRoot = None,
    quiet: o.Quiet = False,
) -> None:
    """Write the student alone as ONNX, checked with onnxruntime on random inputs."""
    from understudy import api
    from understudy.data.resolve import load_data
    from understudy.models.export import export_onnx

    found = None if data is None else load_data(data, "test", data_root=data_root)
    opened = api.load(student, data=found)
    takes = found or opened.config
    if takes is None:
        raise InputError("this model does not say what inputs it takes: name a data set with --data")
    shape = takes.shape
    export_onnx(opened.module, onnx, shape, low=takes.low, high=takes.high)
    if not quiet:
        typer.echo(f"{onnx}: {opened.parameters:,} parameters, inputs (batch, {', '.join(map(str, shape))})")
