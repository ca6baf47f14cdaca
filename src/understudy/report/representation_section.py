"""The section on the layers: how alike every layer of the student is to every layer of the teacher."""

from __future__ import annotations

from understudy.auditing.copied_record import CopiedRecord, LayersRecord, the
from understudy.report.copied_words import nearest, short_names
from understudy.report.heat import heat_key, heat_map
from understudy.report.layout import panels, section
from understudy.report.markup import Markup, el
from understudy.report.plot import panel
from understudy.report.tables import cell, table
from understudy.report.words import number


def representation_section(record: CopiedRecord) -> Markup:
    """A heat map a teacher beside each student layer's nearest, or the reason why there is none."""
    title = "What the layers hold"
    if not record.layers:
        why = record.skipped.get("layers", "nothing was found to compare")
        return section(title, el("p", f"Not measured: {why}.", class_="absent"))
    parts = [part for one in record.layers for part in (_map(one), _nearest(one))]
    return section(
        title,
        heat_key("0: nothing in common", "1: the same, up to turning and scaling"),
        panels(*parts),
        lead="CKA asks whether two layers tell the same examples apart in the same way, whatever their width. Read a "
        "column from top to bottom: where in the teacher is what this layer of the student holds?",
    )


def _map(one: LayersRecord) -> Markup:
    title = f"Layers of the student and of {the(one.teacher)}"
    drawn = heat_map(
        title,
        short_names(one.rows, one.row_kinds),
        short_names(one.columns, one.column_kinds),
        one.values,
        _soft(one),
        f"layers of {the(one.teacher)}, first to last from top to bottom",
        "layers of the student, first to last",
    )
    return panel(
        title,
        drawn,
        f"Unbiased CKA over {one.examples} examples. With the examples of one model in a random order no two layers "
        f"reach more than {number(one.chance, 2)} ({one.permutations} orders). A number in brackets would be "
        "reached by such chance.",
    )


def _soft(one: LayersRecord) -> list[list[bool]]:
    """Cells whose value some random order reached."""
    least = 1.5 / (1 + one.permutations)
    return [[p is not None and p > least for p in row] for row in one.p_values]


def _nearest(one: LayersRecord) -> Markup:
    title = "The nearest layer"
    rows, columns = short_names(one.rows, one.row_kinds), short_names(one.columns, one.column_kinds)
    body = [
        [el("th", columns[j], scope="row"), rows[i], cell(number(value, 2))] for value, j, i in nearest(one)
    ]
    inner = table(title, ["Student’s layer", f"Most like {the(one.teacher)}’s", "CKA"], body, fit=True)
    return panel(title, inner, "For each layer of the student the layer of the teacher that is most like it.")
