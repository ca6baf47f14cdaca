"""`understudy methods`: the catalogue, and the card of one method or recipe."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the card of this one.")] = None,
) -> None:
    """List the methods and recipes, or show one: its idea, formula, options and known failures."""
    from understudy.methods import ALIASES, CATALOGUE
    from understudy.recipes import RECIPES, kind_of

    if name is None:
        for known in (*CATALOGUE, *RECIPES):
            short = ", ".join(alias for alias, target in ALIASES.items() if target == known)
            about = inspect.getdoc(sys.modules[kind_of(known).__module__]) or ""
            typer.echo(f"{known + (f' ({short})' if short else ''):<18} {about.splitlines()[0]}")
        return
    kind = kind_of(name)
    typer.echo(inspect.getdoc(sys.modules[kind.__module__]) or "")
    typer.echo("\nOptions (--set FIELD=VALUE):")
    method = kind()
    for field in fields(kind):
        typer.echo(f"  {field.name} = {getattr(method, field.name)}")
    typer.echo(f"\n{inspect.getdoc(kind) or ''}")
