"""`understudy methods`: the catalogue, and the card of one method."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the card of this method.")] = None,
) -> None:
    """List the methods, or show one: its idea, formula, options and known failures."""
    from understudy.methods import ALIASES, CATALOGUE, method_class

    if name is None:
        for known in CATALOGUE:
            short = ", ".join(alias for alias, target in ALIASES.items() if target == known)
            about = inspect.getdoc(sys.modules[method_class(known).__module__]) or ""
            typer.echo(f"{known + (f' ({short})' if short else ''):<18} {about.splitlines()[0]}")
        return
    kind = method_class(name)
    typer.echo(inspect.getdoc(sys.modules[kind.__module__]) or "")
    typer.echo("\nOptions (--set FIELD=VALUE):")
    method = kind()
    for field in fields(kind):
        typer.echo(f"  {field.name} = {getattr(method, field.name)}")
    typer.echo(f"\n{inspect.getdoc(kind) or ''}")
