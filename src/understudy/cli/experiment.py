"""`understudy experiment`: a paper's claim, rerun at small scale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.errors import InputError


def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which one; `list` names them.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write, or to continue.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on two cores, in place of the full run.")
    ] = False,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N,N", help="Seeds, separated by commas; default by experiment."),
    ] = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    quiet: o.Quiet = False,
) -> None:
    """Rerun a paper's claim at small scale, and say whether it appeared; continues its own folder."""
    from understudy.experiments import EXPERIMENTS, experiment_of

    if name == "list":
        for known in EXPERIMENTS:
            kind = experiment_of(known)
            typer.echo(
                f"{known}: {kind.claim} ({kind.paper}; --quick {kind.quick.cost}, full {kind.full.cost})"
            )
        return
    experiment_of(name)
    if out is None:
        raise InputError("an experiment writes what it finds: say where with --out")
    try:
        numbers = None if seeds is None else tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise InputError(f"--seeds takes whole numbers separated by commas, found {seeds!r}") from None
    from understudy import api

    done = api.experiment(
        name, out=out, quick=quick, seeds=numbers, data_root=data_root, device=device.value, quiet=quiet
    )
    if not quiet:
        for one in done.findings:
            typer.echo(
                f"{one.name}: {one.verdict} ({one.said}: {_number(one.mean)}{_ends(one.low, one.high)})"
            )
        typer.echo(done.sentence)
        typer.echo(f"page: {out / 'report.html'}")


def _number(value: float) -> str:
    return f"{value:+.4f}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f", 95% {_number(low)} to {_number(high)}"
