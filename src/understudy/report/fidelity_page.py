"""The page of a measurement of fidelity: how near on each kind of data, beside other teachers, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.auditing.fidelity_record import FidelityRecord
from understudy.fidelity.moments import Estimate
from understudy.report.fidelity_words import NAMES, SHARES, ends_of, ends_of_mean, left_out, written
from understudy.report.findings import short_source
from understudy.report.forest import Entry, forest
from understudy.report.layout import brand, document, named, panels, save, section
from understudy.report.markup import Markup, el, join
from understudy.report.plot import panel
from understudy.report.tables import cell, pairs, table
from understudy.report.temperature_chart import over_temperature
from understudy.report.words import count, interval, number, sentence
from understudy.version import __version__

_DRAWN = ("agreement", "kl", "total_variation", "jensen_shannon")


def write_fidelity_page(path: Path, record: FidelityRecord) -> None:
    """Write the page to `path`; InputError if it cannot be written."""
    teacher, student = (short_source(one.source) for one in (record.teacher, record.student))
    header = join(
        brand("fidelity"),
        el("h1", "How near is ", el("em", student), " to ", el("em", teacher), "?"),
        el("p", record.said[0], class_="asked"),
    )
    sections = [
        section(
            "In words",
            *(el("p", said, class_="prose") for said in record.said[1:]),
            _skipped(record),
            lead="Intervals are over inputs, at 95%: they say nothing about students of other seeds.",
        ),
        _near(record),
        _temperatures(record),
        _information(record),
        _numbers(record),
        section("How it was measured", pairs("Settings", _provenance(record))),
    ]
    foot = f"understudy {__version__}. Distances are of softmax confidences at temperature 1."
    save(path, document(f"{student} for {teacher}: fidelity", header, sections, foot))


def _skipped(record: FidelityRecord) -> Markup | None:
    if not record.skipped:
        return None
    return el(
        "ul",
        *(el("li", said) for said in left_out(record.skipped)),
        class_="prose",
    )


def _near(record: FidelityRecord) -> Markup:
    drawn = []
    for name in _DRAWN:
        entries = []
        for part in record.parts:
            entries.append(_entry(part.name, "s0", 0, name, part.pair[name]))
            entries += [
                _entry(_other(i, len(part.floors)), "st", 1, name, one[name])
                for i, one in enumerate(part.floors)
            ]
        title = sentence(NAMES[name])
        drawn.append(panel(title, forest(title, "agreement" if name in SHARES else "value", entries), ""))
    lead = "Each kind of data by its name: the student’s distance from its teacher."
    if record.others:
        lead += " Beneath it, in grey, another teacher’s: what a seed alone does."
    return section("How near", panels(*drawn), lead=lead)


def _other(place: int, among: int) -> str:
    return "other teacher" if among == 1 else f"other teacher {place + 1}"


def _entry(label: str, colour: str, shape: int, name: str, one: Estimate) -> Entry:
    low, high = ends_of(name, one) or (None, None)
    return Entry(label, colour, shape, [], one.mean, low, high, None)


def _temperatures(record: FidelityRecord) -> Markup:
    drawn = [
        over_temperature(
            part.temperatures, sentence(part.name), f"{count(part.examples, 'input')}: {part.said}."
        )
        for part in record.parts
    ]
    return section(
        "How sure, over temperature",
        panels(*drawn),
        lead="The expected calibration error of both models, their logits divided by one temperature. "
        "Dashed: the student’s confidence against its teacher’s in place of the labels.",
    )


def _information(record: FidelityRecord) -> Markup:
    rows = []
    for part in record.parts:
        for what, one in (("answers", part.answers), ("confidences", part.confidences)):
            if one is None:
                continue
            values = (one.plug_in, one.corrected, one.chance, one.first_entropy, one.second_entropy)
            rows.append(
                [
                    el("th", f"{sentence(part.name)}, {what}", scope="row"),
                    *(cell(number(value).replace("-", "−")) for value in values),
                ]
            )
    heads = ["Data", "Plug-in", "Corrected", "By chance", "Teacher’s entropy", "Student’s entropy"]
    return section(
        "What one’s prediction tells about the other’s",
        table("Mutual information", heads, rows),
        lead="Mutual information in nats, of the top classes and of the binned confidences. A value that is not "
        "well above the one by chance is no sign of dependence.",
    )


def _numbers(record: FidelityRecord) -> Markup:
    rows: list[Sequence[str]] = []
    for part in record.parts:
        rows.append(_row(part.name, part.pair))
        rows += [_row(_other(i, len(part.floors)), one) for i, one in enumerate(part.floors)]
        if part.excess:
            rows.append(_row("farther than other teachers by", part.excess, difference=True))
    heads = ["Data", *(sentence(name) for name in NAMES.values())]
    return section("Every number", table("Every statistic", heads, rows), lead="Means over inputs.")


def _row(label: str, found: dict[str, Estimate], difference: bool = False) -> list[str]:
    cells: list[str] = [el("th", label, scope="row")]
    for name in NAMES:
        one = found.get(name)
        if one is None:
            cells.append(cell("–"))
        elif difference:
            cells.append(cell(number(one.mean).replace("-", "−"), interval(ends_of_mean(one))))
        else:
            cells.append(cell(written(name, one), interval(ends_of(name, one), name in SHARES)))
    return cells


def _provenance(record: FidelityRecord) -> list[tuple[str, str]]:
    models = [("teacher", record.teacher), ("student", record.student)]
    models += [(f"other teacher {i + 1}", one) for i, one in enumerate(record.others)]
    rows = [(name, f"{one.source}, sha256 {one.sha256[:16]}…") for name, one in models]
    rows += [(f"{one.name} data", f"{one.said}, {count(one.examples, 'input')}") for one in record.parts]
    return rows + named(record.settings) + named(record.environment)
