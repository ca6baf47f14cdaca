"""A measurement of fidelity in the terminal: a row a kind of data, then what it says in words."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.auditing.fidelity_record import FidelityRecord
from understudy.report.fidelity_words import ends_of, left_out, written
from understudy.report.words import count, interval, number

_SHOWN = {"agreement": "agreement", "kl": "KL,\nnats"}


def fidelity_table(record: FidelityRecord) -> RenderableType:
    """Agreement and KL with their intervals, other teachers' agreement, information of the answers, relative ECE."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("data", no_wrap=True)
    heads = [
        *_SHOWN.values(),
        *(["other\nteachers"] if record.others else []),
        "informa-\ntion, nats",
        "relative\nECE",
    ]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for part in record.parts:
        cells = [f"{part.name}\n{count(part.examples, 'input')}"]
        for name in _SHOWN:
            one = part.pair[name]
            ends = interval(ends_of(name, one), name == "agreement")
            cells.append(f"{written(name, one)}\n{ends}")
        if part.floors:
            cells.append("\n".join(written("agreement", one["agreement"]) for one in part.floors))
        plain = next((one for one in part.temperatures if one.temperature == 1), part.temperatures[0])
        told = "–" if part.answers is None else number(part.answers.plug_in)
        table.add_row(*cells, told, number(plain.relative_ece))
    return Group(table, *(Text(said) for said in (*record.said, *left_out(record.skipped))))
