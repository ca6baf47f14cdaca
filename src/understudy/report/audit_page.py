"""The page of one audit, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from understudy.auditing.record import AuditRecord, ModelRecord
from understudy.report.attention_section import attention_section
from understudy.report.calibration_charts import BinSeries, Histogram, histogram, reliability
from understudy.report.copied_section import copied_section
from understudy.report.findings import asked, at_radius, headlines, proved, short_source
from understudy.report.layout import brand, document, named, panels, section
from understudy.report.markup import Markup, el, join
from understudy.report.meeting import meeting_section
from understudy.report.plot import panel
from understudy.report.radius_charts import Curve, class_bars, class_counts, over_radius, within_delta
from understudy.report.representation_section import representation_section
from understudy.report.tables import cell, pairs, points_table, radius_table, table
from understudy.report.training_charts import Run, training_panels
from understudy.report.words import ABSENT, count, norm_name, number, percent, radius
from understudy.report.worst import WorstCase, gallery, worst_cases


def audit_document(
    record: AuditRecord, worst: Sequence[WorstCase], maps: Mapping[str, np.ndarray] | None = None
) -> str:
    """The whole page as HTML; `maps` as `write_audit_page` takes them."""
    student, teacher = short_source(record.student.source), short_source(record.teacher.source)
    header = join(
        brand("audit"),
        el("h1", el("em", student), " as a stand-in for ", el("em", teacher)),
        el("p", asked(record), class_="asked"),
        el(
            "div",
            *(_tile(one.name, one.value, one.ends, one.note) for one in headlines(record)),
            class_="tiles",
        ),
    )
    sections = [
        section(
            "What was proved, and what was not", *(el("p", said, class_="prose") for said in proved(record))
        ),
        *_copied(record, maps or {}),
        _over_radius(record),
        meeting_section(record),
        _calibration(record),
        _witnesses(record, worst),
        _training(record),
        section("Point by point", points_table(record), lead="Each examined input with its bounds."),
        _provenance(record),
    ]
    return document(f"{student} for {teacher}: audit", header, sections, _FOOT)


_FOOT = (
    "Differences are of softmax confidences, between 0 and 1. EmpLB: the largest difference an attack found. "
    "FaithUB: a proved bound that no input in the ball exceeds. Intervals are at 95%."
)


def _copied(record: AuditRecord, maps: Mapping[str, np.ndarray]) -> list[Markup]:
    """What the student copied; nothing in an audit that did not know of it."""
    found = record.copied
    if found is None:
        return [copied_section(None)] if "copied" in record.settings else []
    ends = (record.data.low, record.data.high)
    return [
        copied_section(found),
        attention_section(found, maps, record.data.class_names, ends),
        representation_section(found),
    ]


def _witnesses(record: AuditRecord, worst: Sequence[WorstCase]) -> Markup:
    ends = (record.data.low, record.data.high)
    return section(
        "Worst inputs found",
        el("p", _key("st", "teacher"), _key("s0", "student"), class_="keys"),
        gallery(worst, ends),
        worst_cases(worst, record.data.class_names, ends, anchors=True),
        lead="The witnesses, the largest difference of confidence first, and what both models said about each before "
        "and after the perturbation: the input at which the lower bound is attained. The shaded class is the one "
        "furthest apart.",
    )


def _tile(name: str, value: str, ends: str, note: str) -> Markup:
    under = el("p", ends, class_="ends")
    look = "value absent" if value == ABSENT else "value"
    return el(
        "div", el("h2", name), el("p", value, class_=look), under, el("p", note, class_="note"), class_="tile"
    )


def _key(look: str, name: str) -> Markup:
    return el("span", el("span", class_=f"swatch {look}"), name, class_="key")


def _over_radius(record: AuditRecord) -> Markup:
    rows, norm = record.summary, norm_name(record.norm)
    found = Curve(
        "EmpLB", "s0", [(r.eps, r.lower_mean, *(r.lower_mean_interval or (None, None))) for r in rows]
    )
    bound = Curve(
        "FaithUB", "s0", [(r.eps, r.upper_mean, *(r.upper_mean_interval or (None, None))) for r in rows], True
    )
    over_all = [
        Curve("agreement", "si", [(r.eps, r.agreement, *r.agreement_interval) for r in rows]),
        Curve(
            "teacher",
            "st",
            [(r.eps, r.accuracy_teacher, *(r.accuracy_teacher_interval or (None, None))) for r in rows],
            shape=1,
        ),
        Curve(
            "student",
            "s0",
            [(r.eps, r.accuracy_student, *(r.accuracy_student_interval or (None, None))) for r in rows],
            shape=2,
        ),
    ]
    counted = sum(point.counted for point in record.points)
    examined = count(len(record.points), "examined point")
    gap_title = "Difference of confidence, mean"
    parts = [
        panel(
            gap_title,
            over_radius(gap_title, "difference, 0 to 1", [found, bound], norm=norm, fill_between=True),
            f"Solid: found by attack. Dashed: proved bound. The truth lies between them. Mean over "
            f"{count(counted, 'counted point')}; bands are 95% intervals.",
        )
    ]
    if counted:
        title = "Do both name one class on the whole ball?"
        parts.append(
            panel(title, class_bars(title, class_counts(record)), f"Of {count(counted, 'counted point')}.")
        )
    title = "Accuracy and agreement"
    no_labels = "" if rows[0].accuracy_teacher is not None else " Accuracies: not measured (no labels)."
    parts.append(
        panel(
            title,
            over_radius(
                title, f"share of {count(len(record.points), 'point')}", over_all, norm=norm, share=True
            ),
            f"Over {examined}. At ε = 0 clean; above it each model’s accuracy under an attack on its own loss, "
            "and agreement where the confidences were found furthest apart, which need not be where a class "
            f"changes.{no_labels}",
        )
    )
    within = _within(record, counted)
    return section(
        "Over the radius",
        panels(*parts, within),
        radius_table(record),
        lead="How the difference grows as the input may be moved further, found and proved.",
    )


def _within(record: AuditRecord, counted: int) -> Markup | None:
    place = len(record.summary) - 1
    lowers = [value for value, _ in at_radius(record, place, "lower")]
    uppers = [value for value, _ in at_radius(record, place, "upper")]
    if not counted or not lowers:
        return None
    eps = radius(record.summary[place].eps)
    title = f"Points within a difference δ, at ε = {eps}"
    said = f"Refuted at δ = 0.25: {sum(v > 0.25 for v in lowers)} of {counted} points"
    if uppers:
        said = f"Proved at δ = 0.25: {sum(v <= 0.25 for v in uppers)} points. " + said
    return panel(
        title,
        within_delta(title, lowers, uppers, counted),
        "Dashed: share of points proved to stay within δ. Solid: share that no attack has pushed "
        "beyond δ. The "
        f"truth lies between them. {said}.",
    )


def _calibration(record: AuditRecord) -> Markup:
    c = record.calibration
    points = count(len(record.points), "point")
    one, two = (
        BinSeries("teacher", "st", c.reliability_teacher, 1),
        BinSeries("student", "s0", c.reliability_student),
    )
    relative = BinSeries("student", "s0", c.relative_reliability)
    agree = BinSeries("pair", "s0", c.agreement_by_confidence)
    parts = []
    title = "Student’s confidence against the teacher’s"
    parts.append(
        panel(
            title,
            reliability(
                title,
                [relative],
                "student’s confidence in its class",
                "teacher’s confidence in it",
                "diagonal",
            ),
            f"On the diagonal the student is as confident as the teacher would be. Below it the student is "
            f"overconfident. Relative ECE {number(c.relative_ece)}.",
        )
    )
    title = "Student’s minus teacher’s confidence"
    parts.append(
        panel(
            title,
            histogram(
                title,
                [Histogram("student", "s0", c.difference_edges, c.difference_histogram)],
                "difference in the teacher’s class",
            ),
            f"{points}, unperturbed. Left of 0 the student is less sure of the teacher’s class than "
            "the teacher.",
        )
    )
    elsewhere = record.copied is not None  # then drawn there, of more examples
    title = "Agreement by the teacher’s confidence"
    if not elsewhere:
        parts.append(
            panel(
                title,
                reliability(title, [agree], "teacher’s confidence", "share of points that agree", "share"),
                "Where the teacher hesitates, is the student’s answer still the same? Larger marks hold "
                "more points.",
            )
        )
    title = "Reliability against the labels"
    if not elsewhere and (c.ece_student is not None or c.ece_teacher is not None):
        parts.append(
            panel(
                title,
                reliability(title, [one, two], "confidence", "accuracy", "diagonal"),
                f"ECE: teacher {number(c.ece_teacher)}, student {number(c.ece_student)}.",
            )
        )
    rows = [
        [el("th", name, scope="row"), cell(number(t)), cell(number(s))]
        for name, t, s in (
            ("ECE", c.ece_teacher, c.ece_student),
            ("NLL, nats", c.nll_teacher, c.nll_student),
            ("Brier score", c.brier_teacher, c.brier_student),
        )
    ]
    rows.append([el("th", "Relative ECE", scope="row"), cell("reference"), cell(number(c.relative_ece))])
    return section(
        "Relative calibration",
        panels(*parts),
        table("Calibration", ["", "Teacher", "Student"], rows, fit=True),
        lead="Is the student as confident as its teacher, on the inputs as they are?",
    )


def _training(record: AuditRecord) -> Markup | None:
    shown = training_panels(
        [Run("teacher", "st", record.teacher.curves, 1), Run("student", "s0", record.student.curves)]
    )
    content = shown or el(
        "p", "Training curves: not measured (the models came without them).", class_="absent"
    )
    return section(
        "Training", content, lead="As written down while training. The last epoch is what was audited."
    )


def model_rows(role: str, model: ModelRecord) -> list[tuple[str, str]]:
    """What identifies one model."""
    return [
        (f"{role}", model.source),
        (f"{role}, SHA-256", model.sha256),
        (f"{role}, parameters", f"{model.parameters:,}"),
    ]


def data_rows(record: AuditRecord) -> list[tuple[str, str]]:
    """What identifies the data."""
    data = record.data
    low, high = ("unbounded" if end is None else f"{end:g}" for end in (data.low, data.high))
    return [
        ("data", f"{data.name}, {data.split} split, {count(data.examples, 'example')}"),
        ("data, SHA-256", data.fingerprint),
        ("input shape", " × ".join(str(size) for size in data.shape)),
        ("classes", str(data.classes)),
        ("valid range", low if low == high else f"{low} to {high}"),
        ("norm", norm_name(record.norm)),
    ]


def _provenance(record: AuditRecord) -> Markup:
    spent = [one.seconds for point in record.points for one in point.radii]
    time = [
        ("bounds and attacks, all points", f"{sum(spent):,.1f} s"),
        ("slowest point and radius", f"{max(spent):.2f} s"),
    ]
    ratio = record.student.parameters / record.teacher.parameters if record.teacher.parameters else None
    size = [("student’s size, of the teacher’s", percent(ratio))]
    models = model_rows("teacher", record.teacher) + model_rows("student", record.student) + size
    return section(
        "Provenance",
        el("h3", "Models and data"),
        pairs("Models and data", models + data_rows(record)),
        el("h3", "Settings"),
        pairs("Settings", named(record.settings)),
        el("h3", "Versions and time"),
        pairs("Versions and time", named(record.environment) + time),
        lead="All that is needed to run this again. The same numbers, point by point, are in audit.json.",
    )
