"""`understudy report`: draw the page of an audit or a comparison again, and print its table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import options as o
from understudy.errors import InputError


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that audit or compare wrote.")],
    quiet: o.Quiet = False,
) -> None:
    """Print the table of an audit or a comparison, and draw its page again."""
    from rich.console import Console

    from understudy.auditing.files import read_audit, read_maps
    from understudy.jobs.comparison_job import draw_comparison, read_comparison
    from understudy.jobs.worst import as_arrays, read_worst, worst_cases
    from understudy.report.page import write_audit_page
    from understudy.report.table import audit_table, compare_table

    if (folder / "compare.json").exists():
        done = read_comparison(folder)
        draw_comparison(folder, done.content, done.audits)
        table = compare_table(done.content)
    elif (folder / "audit.json").exists():
        record = read_audit(folder)
        worst = worst_cases(record, read_worst(folder / "worst.safetensors"), None)
        write_audit_page(folder / "report.html", record, worst, as_arrays(read_maps(folder)))
        table = audit_table(record)
    else:
        raise InputError(f"{folder} holds neither audit.json nor compare.json")
    if not quiet:
        Console().print(table)
        typer.echo(f"page: {folder / 'report.html'}")
