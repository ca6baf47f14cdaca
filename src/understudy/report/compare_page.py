"""The page of a comparison of methods, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.auditing.record import AuditRecord
from understudy.report.audit_page import data_rows, model_rows
from understudy.report.calibration_charts import (
    LEAST,
    BinSeries,
    histogram,
    pooled,
    pooled_histogram,
    reliability,
)
from understudy.report.compare_judgement import judgement_section
from understudy.report.compare_tables import contrast_section, rows_section, summary_section
from understudy.report.comparison import (
    Comparison,
    arrange,
    baseline_note,
    curves,
    ranking,
    vacuous,
    verdicts,
)
from understudy.report.findings import VACUOUS
from understudy.report.forest import forest
from understudy.report.judgement import Judgement, judgement
from understudy.report.layout import brand, document, named, panels, section
from understudy.report.marks import slot
from understudy.report.markup import Markup, el, join
from understudy.report.plot import panel
from understudy.report.radius_charts import over_radius
from understudy.report.tables import cell, pairs, table
from understudy.report.training_charts import Run, training_panels
from understudy.report.words import (
    SHARES,
    count,
    metric_label,
    metric_parts,
    norm_name,
    radius,
    sentence,
)
from understudy.report.worst import WorstCase, worst_cases

_HEAD = ("accuracy", "kl", "lower_mean", "upper_mean")
_PROVED = ("upper_mean", "certified_agreement", "vacuous")
_FOOT = (
    "Differences are of softmax confidences, between 0 and 1. EmpLB: the largest difference an attack "
    "found, so "
    "the true one is at least this. FaithUB: a proved bound that no input in the ball exceeds. Every "
    "student is "
    "the one of its last epoch, never the best one on the examined data."
)


def compare_document(
    compare: Mapping[str, Any],
    audits: Mapping[str, Sequence[AuditRecord]],
    worst: Mapping[str, Sequence[WorstCase]],
) -> str:
    """The whole page as HTML."""
    c = arrange(compare, audits)
    one = next(seeds[0] for seeds in audits.values() if seeds)
    norm = norm_name(one.norm)
    asked = (
        f"Which of {count(len(c.methods), 'method')} gives the student that stays closest to its "
        "teacher within "
        f"ε ≤ {radius(c.radii[-1])} ({norm}) of {count(len(one.points), 'input')} from the "
        f"{one.data.split} split "
        f"of {one.data.name}?"
    )
    header = join(
        brand("comparison"),
        el("h1", "One teacher, ", el("em", count(len(c.methods), "way")), " to make its stand-in"),
        el("p", asked, class_="asked"),
    )
    short = judgement(compare)
    sections = [
        _answer(c, short, audits),
        judgement_section(short, c),
        summary_section(c),
        contrast_section(c, compare.get("contrasts") or []),
        _over_radius(c.few, audits, norm, c.few_note),
        _calibration(c.few, audits, c.few_note),
        _worst(c.few, audits, worst, c.few_note),
        _training(c.few, audits, c.few_note),
        rows_section(c),
        _provenance(compare, audits, one),
    ]
    return document(f"Comparison on {one.data.name}: {', '.join(c.methods)}", header, sections, _FOOT)


def _answer(c: Comparison, short: Judgement, audits: Mapping[str, Sequence[AuditRecord]]) -> Markup:
    said: list[str | None] = [*short.sentences()]
    said += [ranking(c, name) for name in ("lower_mean", "upper_mean", "certified_agreement")]
    said.append(verdicts(c, "lower_mean"))
    said += [vacuous(c.few, audits), baseline_note(c)]
    drawn = []
    for name in _HEAD:
        metric = c.whole(name)
        if metric is None:
            continue
        eps = metric_parts(metric)[1]
        title = sentence(metric_label(name))
        title += f", ε = {radius(eps)}" if eps is not None else ""
        better = "Further left is better." if name not in SHARES else "Further right is better."
        drawn.append(panel(title, forest(title, name, c.entries(metric)), better))
    seeds = count(len(c.seeds), "seed")
    return section(
        "The answer",
        *(el("p", one, class_="prose") for one in said if one),
        panels(*drawn),
        lead=f"Large marks are means over {seeds} with their 95% intervals, small ones single seeds.",
    )


def _over_radius(c: Comparison, audits: Mapping[str, Sequence[AuditRecord]], norm: str, note: str) -> Markup:
    many = len(c.seeds) > 1
    band = (
        "Bands reach from the lowest to the highest seed." if many else "Bands are 95% intervals over points."
    )
    parts = []
    for name, title, y_label, caption in (
        (
            "lower_mean",
            "Found by attack (EmpLB)",
            "mean difference, 0 to 1",
            "The true difference is at least this.",
        ),
        (
            "upper_mean",
            "Proved bound (FaithUB)",
            "mean difference, 0 to 1",
            "The true difference is at most this.",
        ),
        (
            "agreement",
            "Agreement",
            "share of points",
            "Same class where the confidences were found furthest apart.",
        ),
        (
            "certified_agreement",
            "Certified agreement",
            "share of points",
            "Same class proved on the whole ball.",
        ),
        (
            "accuracy_student",
            "Student’s accuracy",
            "share of points",
            "Above ε = 0 under an attack on its own loss.",
        ),
        (
            "vacuous",
            "Vacuous certificates",
            "share of counted points",
            f"FaithUB of {VACUOUS:g} or more: nothing is proved there.",
        ),
    ):
        shown = curves(audits, c.methods, name, dashed=name in _PROVED)
        if not any(curve.measured for curve in shown):
            parts.append(panel(title, el("p", "not measured", class_="absent"), caption))
            continue
        drawing = over_radius(
            title, y_label, shown, norm=norm, share=name in SHARES or name == "vacuous", margin=74
        )
        parts.append(panel(title, drawing, f"{caption} {band}"))
    return section(
        "Over the radius",
        panels(*parts),
        lead="Solid: found by attack. Dashed: proved. One radius can mislead; read the whole curve." + note,
    )


def _calibration(c: Comparison, audits: Mapping[str, Sequence[AuditRecord]], note: str) -> Markup:
    known = [(i, method, list(audits[method])) for i, method in enumerate(c.methods) if audits.get(method)]

    def series(field: str) -> list[BinSeries]:
        return [
            BinSeries(m, slot(i), pooled([getattr(a.calibration, field) for a in seeds]), i)
            for i, m, seeds in known
        ]

    few = "Where the teacher hesitates, is the answer still the same?"
    parts = []
    title = "Student’s confidence against the teacher’s"
    parts.append(
        panel(
            title,
            reliability(
                title,
                series("relative_reliability"),
                "student’s confidence in its class",
                "teacher’s minus student’s confidence in it",
                "deviation",
            ),
            "At 0 a student is as confident as the teacher would be; below it, overconfident.",
        )
    )
    title = "Student’s minus teacher’s confidence"
    parts.append(
        panel(
            title,
            histogram(
                title,
                [pooled_histogram(m, slot(i), seeds, i) for i, m, seeds in known],
                "difference in the teacher’s class",
            ),
            "Narrow around 0 is faithful. Left of 0 the student is less sure than the teacher.",
        )
    )
    title = "Agreement by the teacher’s confidence"
    parts.append(
        panel(
            title,
            reliability(
                title,
                series("agreement_by_confidence"),
                "teacher’s confidence",
                "share of points that agree",
                "share",
            ),
            few,
        )
    )
    if any(a.calibration.ece_student is not None for _, _, seeds in known for a in seeds):
        title = "Reliability against the labels"
        first = known[0][2][0].calibration
        teacher = BinSeries("teacher", "st", first.reliability_teacher, len(known))
        parts.append(
            panel(
                title,
                reliability(
                    title,
                    [teacher, *series("reliability_student")],
                    "confidence",
                    "accuracy minus confidence",
                    "deviation",
                ),
                "At 0 confidence equals accuracy; below it a model is overconfident.",
            )
        )
    pool = "Seeds are put together. " if len(c.seeds) > 1 else ""
    pool += f"Larger marks hold more points; bins of fewer than {LEAST} are left out."
    return section(
        "Relative calibration",
        panels(*parts),
        lead=f"Is a student as confident as its teacher, on the inputs as they are? {pool}{note}",
    )


def _worst(
    c: Comparison,
    audits: Mapping[str, Sequence[AuditRecord]],
    worst: Mapping[str, Sequence[WorstCase]],
    note: str,
) -> Markup:
    parts: list[str] = []
    for place, method in enumerate(c.methods):
        seeds = audits.get(method)
        if not seeds or not worst.get(method):
            continue
        data = seeds[0].data
        swatches = [
            el("span", el("span", class_=f"swatch {look}"), who, class_="key")
            for look, who in (("st", "teacher"), (slot(place), "student"))
        ]
        parts.append(el("h3", el("span", method, class_=f"method {slot(place)}"), *swatches, class_="keys"))
        parts.append(
            worst_cases(worst[method], data.class_names, (data.low, data.high), slot(place), opened=2)
        )
    return section(
        "Worst inputs found",
        *(parts or [el("p", "not measured", class_="absent")]),
        lead="For the first seed of each method, the witnesses with the largest difference of confidence. "
        "The shaded class is the one furthest apart." + note,
    )


def _training(c: Comparison, audits: Mapping[str, Sequence[AuditRecord]], note: str) -> Markup:
    runs = [
        Run(method, slot(i), audits[method][0].student.curves, i)
        for i, method in enumerate(c.methods)
        if audits.get(method)
    ]
    shown = training_panels(runs) or el("p", "Training curves: not measured.", class_="absent")
    return section(
        "Training",
        shown,
        lead="The first seed of each method. Methods minimise different losses: compare the shape, not "
        "the height." + note,
    )


def _provenance(
    compare: Mapping[str, Any], audits: Mapping[str, Sequence[AuditRecord]], one: AuditRecord
) -> Markup:
    seeds_of = {
        method: list(dict.fromkeys(row["seed"] for row in compare["rows"] if row["method"] == method))
        for method in audits
    }
    students = [
        [
            el("th", method, scope="row"),
            cell(str(seeds_of[method][place] if place < len(seeds_of[method]) else place)),
            el("td", audit.student.source, class_="value"),
            cell(f"{audit.student.parameters:,}"),
            el("td", audit.student.sha256, class_="value"),
        ]
        for method, seeds in audits.items()
        for place, audit in enumerate(seeds)
    ]
    return section(
        "Provenance",
        el("h3", "Teacher and data"),
        pairs("Teacher and data", model_rows("teacher", one.teacher) + data_rows(one)),
        el("h3", "Students"),
        table("Students", ["Method", "Seed", "Source", "Parameters", "SHA-256"], students),
        el("h3", "Settings"),
        pairs("Settings", named(dict(compare.get("settings") or {}))),
        el("h3", "Versions and time"),
        pairs("Versions and time", named(dict(compare.get("environment") or {}))),
        lead="All that is needed to run this again. The numbers are in compare.json and in each run’s "
        "audit.json.",
    )
