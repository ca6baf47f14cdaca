"""The command line: one file a command, each a thin call of `understudy.api`. `--help` imports no torch.

Exit codes: 0 fine; 1 a gate failed; 2 bad input; 3 a lower bound above an upper one; 70 internal error;
130 interrupted.
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Annotated

import typer

from understudy.cli.audit import audit
from understudy.cli.check import check
from understudy.cli.compare import compare
from understudy.cli.distill import distill
from understudy.cli.experiment import experiment
from understudy.cli.export import export
from understudy.cli.export_query import export_query
from understudy.cli.fidelity import fidelity
from understudy.cli.methods import methods
from understudy.cli.report import report
from understudy.cli.smooth import smooth
from understudy.cli.train import train
from understudy.errors import UnderstudyError
from understudy.version import __version__

# Typer brings its own copy of click since 0.20, so the base of its usage errors is found, not imported.
USAGE_ERROR = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="understudy",
    help="Train students from teachers; measure, attack and prove how far they may stand in for them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
for command in (
    train,
    distill,
    audit,
    fidelity,
    compare,
    methods,
    report,
    check,
    export,
    smooth,
    export_query,
    experiment,
):
    app.command()(command)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"understudy {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train students from teachers; measure, attack and prove how far they may stand in for them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code. Every failure is one message on the error stream."""
    try:
        code = app(args=arguments, prog_name="understudy", standalone_mode=False)
        return _interrupted() if code == 130 else int(code) if isinstance(code, int) else 0
    except UnderstudyError as error:
        typer.echo(f"understudy: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            typer.echo(f"understudy: {error}", err=True)
            return 2
        return _internal()
    except Exception as error:
        if isinstance(error, USAGE_ERROR):
            error.show()  # type: ignore[attr-defined]
            return 2
        return _internal()


def _interrupted() -> int:
    """Typer turns ctrl-C into this code without a word."""
    typer.echo("understudy: interrupted; a training goes on with --resume", err=True)
    return 130


def _internal() -> int:
    traceback.print_exc()
    typer.echo("understudy: internal error; please report the lines above", err=True)
    return 70
