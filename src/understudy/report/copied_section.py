"""The section on what the student copied: the findings in words, then its answers and its calibration."""

from __future__ import annotations

from understudy.auditing.copied_record import AnswersRecord, CopiedRecord, Mean
from understudy.fidelity.calibration import Bin
from understudy.fidelity.intervals import clopper_pearson
from understudy.report.calibration_charts import BinSeries, reliability
from understudy.report.copied_words import copied_sentences, examples
from understudy.report.layout import panels, section
from understudy.report.marks import dot, line, whisker
from understudy.report.markup import Markup, el
from understudy.report.plot import SHARE, UNIT, Frame, axes, chart, panel
from understudy.report.tables import cell, table
from understudy.report.temperature_chart import over_temperature
from understudy.report.words import count, interval, number, percent


def copied_section(record: CopiedRecord | None) -> Markup:
    """The findings and the answers; one line where the audit left them out."""
    title = "What the student copied"
    if record is None:
        return section(title, el("p", "Not measured: this audit left it out.", class_="absent"))
    a = record.answers
    last = record.start + record.examples + len(record.left_out) - 1
    lost = len(record.left_out)
    less = f", but for {count(lost, 'row')} where a model’s logits are not finite" if lost else ""
    return section(
        title,
        *(el("p", el("strong", what), " ", said, class_="prose") for what, said in copied_sentences(record)),
        _table(a),
        panels(_by_confidence(a.by_confidence), _reliability(a), over_temperature(a.temperatures)),
        lead=f"Measured on {examples(record)} as they are, without any attack: rows {record.start} to {last} of the "
        f"split{less}. Intervals in brackets are at 95%.",
    )


def _table(a: AnswersRecord) -> Markup:
    rows = [
        ("Agreement", a.agreement, True, "same class"),
        ("… where the teacher is right", a.agreement_where_right, True, "same class"),
        ("… where the teacher is wrong", a.agreement_where_wrong, True, "same mistake"),
        ("Teacher’s accuracy", a.accuracy_teacher, True, "right class"),
        ("Student’s accuracy", a.accuracy_student, True, "right class"),
        ("Total variation", a.total_variation, False, "0 alike, 1 nothing shared"),
        ("Jensen–Shannon distance", a.jensen_shannon, False, "0 alike, 0.833 nothing shared"),
        ("KL(teacher || student), nats", a.kl, False, "0 alike, no upper end"),
    ]
    body = [
        [
            el("th", name, scope="row"),
            cell(value(found, share), interval((found.low, found.high), share)),
            cell(f"{found.count:,}"),
            meaning,
        ]
        for name, found, share, meaning in rows
        if found is not None
    ]
    return table("Answers of both", ["", "Mean", "Examples", "Meaning"], body, fit=True)


def value(found: Mean, share: bool) -> str:
    """The mean in its unit."""
    return percent(found.mean) if share else number(found.mean)


def _by_confidence(bins: list[Bin]) -> Markup:
    title = "Same answer, by the teacher’s confidence"
    frame = Frame((0, 1), (0, 1))
    marks: list[str | None] = [axes(frame, UNIT, SHARE, "teacher’s confidence", "share that agrees")]
    known = [one for one in bins if one.confidence is not None and one.observed is not None]
    spoken = []
    marks.append(line(frame, [(one.confidence or 0.0, one.observed) for one in known], "s0 thin"))
    for one in known:
        x, y = one.confidence or 0.0, one.observed or 0.0
        ends = clopper_pearson(round(y * one.count), one.count)
        read = f"confidence {number(x, 2)}: {percent(y)} ({interval(ends, True)}) of {count(one.count, 'example')}"
        marks += [whisker(frame, x, *ends, "s0"), dot(frame.x(x), frame.y(y), "s0", read)]
        spoken.append(read)
    drawn = chart(frame, title, "; ".join(spoken), *marks)
    return panel(
        title,
        drawn,
        "Where the teacher hesitates, is the student’s answer still the same? High on the left: the student copied "
        "the teacher’s doubtful answers too. Bars are intervals; few examples make them long.",
    )


def _reliability(a: AnswersRecord) -> Markup | None:
    if not a.reliability_teacher:
        return None
    title = "Reliability against the labels"
    series = [
        BinSeries("teacher", "st", a.reliability_teacher, 1),
        BinSeries("student", "s0", a.reliability_student),
    ]
    one = next(row for row in a.temperatures if row.temperature == 1)
    return panel(
        title,
        reliability(title, series, "confidence", "accuracy", "diagonal"),
        "On the diagonal a model is right as often as it is sure; above it, more often. Calibration error (ECE): "
        f"teacher {number(one.ece_teacher)}, student {number(one.ece_student)}.",
    )
