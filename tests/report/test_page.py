"""The page: self-contained, well formed, complete, escaped, and whole when things are missing."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.auditing.record import AuditRecord
from understudy.errors import InputError
from understudy.report.page import WorstCase, write_audit_page, write_compare_page
from understudy.report.words import interval, number, percent

VOID = {"meta", "link", "img", "br", "hr"}
HOSTILE = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x00"


class Balance(HTMLParser):
    """Keeps the open elements; complains about one closed out of turn; collects what could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        assert not any(name.startswith("on") or name == "style" for name in names), f"<{tag}> carries {names}"
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> out of turn"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def check_page(page: str) -> Balance:
    """Everything any page must hold to; returns what was parsed."""
    found = Balance()
    found.feed(page)
    found.close()
    assert found.open == []
    assert all(load.startswith("data:") or load[1:] in found.ids for load in found.loads), found.loads
    assert len(found.ids) == len(set(found.ids))
    links = set(re.findall(r"https?://[^\s\"'<>)]*", page))
    assert links <= {"http://www.w3.org/2000/svg"}, links
    assert "url(" not in page
    assert "@import" not in page
    for absent in ("NaN", "None", "nan", "inf", "undefined", "null"):
        assert not re.search(rf"\b{absent}\b", " ".join(found.text)), f"{absent} is on the page"
        assert not re.search(
            rf'="[^"]*\b{absent}\b', re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.S)
        )
    assert found.tags.count("h1") == 1
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert all("<title>" in chart for chart in charts)
    assert all("<desc>" in chart for chart in charts if 'class="chart' in chart)
    return found


def plain(page: str) -> str:
    """The page's text with ordinary spaces."""
    return html.unescape(page).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def audit_html(record: AuditRecord, worst_maker: Callable[..., Any], tmp_path_factory: Any) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_audit_page(path, record, worst_maker(record, 8))
    return path.read_text(encoding="utf-8")


def test_audit_page_is_whole_and_self_contained(audit_html: str) -> None:
    found = check_page(audit_html)
    assert {"svg", "table", "details", "img", "main", "header", "footer"} <= set(found.tags)
    assert len(audit_html) < 600_000


def test_policy_names_exactly_the_style_and_script(audit_html: str) -> None:
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', audit_html)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'")
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", audit_html, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_audit_page_holds_every_number(audit_html: str, record: AuditRecord) -> None:
    text = plain(audit_html)
    for row in record.summary:
        for value in (row.lower_mean, row.upper_mean, row.upper_max, row.kl, row.total_variation):
            assert f">{number(value)}<" in text
        for value in (row.agreement, row.certified_agreement, row.accuracy_teacher, row.accuracy_student):
            assert percent(value) in text
        assert interval(row.lower_mean_interval) in text
        assert interval(row.certified_agreement_interval, True) in text
    c = record.calibration
    for value in (c.ece_teacher, c.ece_student, c.nll_teacher, c.brier_student, c.relative_ece):
        assert number(value) in text
    for fact in (record.teacher.sha256, record.student.sha256, record.data.fingerprint, "12,874", "3,540"):
        assert fact in text
    for name, value in (
        ("certify", "crown"),
        ("attack.restarts", "3"),
        ("torch", "2.13.0+cpu"),
        ("seconds", "41.7"),
    ):
        assert re.search(rf'>{re.escape(name)}</th><td class="value">{re.escape(value)}<', text), name
    rows = text[text.index('aria-label="All points"') :]
    assert rows[: rows.index("</table>")].count("<tr>") == 1 + len(record.points)


def test_points_come_worst_first(audit_html: str, record: AuditRecord) -> None:
    body = audit_html[audit_html.index('aria-label="All points"') :]
    order = [int(index) for index in re.findall(r'<th scope="row">(\d+)</th>', body)][: len(record.points)]
    worst = {
        p.index: max((r.lower for r in p.radii if r.lower is not None), default=-1.0) for p in record.points
    }
    assert [worst[index] for index in order] == sorted(worst.values(), reverse=True)


def test_hostile_names_are_text(record: AuditRecord, worst_maker: Callable[..., Any], tmp_path: Path) -> None:
    hostile = replace(
        record,
        teacher=replace(record.teacher, source=HOSTILE),
        student=replace(record.student, source=HOSTILE, curves=[{"epoch": 1, f"loss{HOSTILE}": 1.0}]),
        data=replace(record.data, name=HOSTILE, split=HOSTILE, class_names=[HOSTILE] * 10),
        settings={HOSTILE: HOSTILE},
        environment={HOSTILE: {HOSTILE: HOSTILE}},
    )
    worst = [replace(case, label=HOSTILE) for case in worst_maker(record, 2)]
    write_audit_page(tmp_path / "p.html", hostile, worst)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    found = check_page(page)
    assert found.tags.count("script") == 1
    assert page.count("alert(1)") > 5
    assert "<script>alert" not in page
    assert "onerror=alert(2)>" not in page
    assert "\x00" not in page


def test_missing_values_read_not_measured(bare: AuditRecord, tmp_path: Path) -> None:
    write_audit_page(tmp_path / "p.html", bare, [])
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    assert page.count("not measured") > 30
    assert "No point is counted" in page
    assert "no label" in page


def test_without_bounds_nothing_is_called_proved(
    audit_maker: Callable[..., AuditRecord], tmp_path: Path
) -> None:
    write_audit_page(tmp_path / "p.html", audit_maker(certify=False), [])
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    assert "Nothing was proved" in page
    assert "Proved:" not in page


@pytest.mark.parametrize(("points", "radii"), [(1, (0.0,)), (1, (0.0, 0.1)), (5, (0.0,)), (3, (8 / 255,))])
def test_one_point_one_radius(
    points: int,
    radii: tuple[float, ...],
    audit_maker: Callable[..., AuditRecord],
    worst_maker: Callable[..., list[WorstCase]],
    tmp_path: Path,
) -> None:
    one = audit_maker(points=points, radii=radii)
    write_audit_page(tmp_path / "p.html", one, worst_maker(one, 1))
    check_page((tmp_path / "p.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("shape", [(7,), (300,), (3, 8, 8), (8, 8), (2, 4, 4)])
def test_inputs_of_any_shape(
    shape: tuple[int, ...], record: AuditRecord, worst_maker: Callable[..., Any], tmp_path: Path
) -> None:
    write_audit_page(tmp_path / "p.html", record, worst_maker(record, 2, shape))
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    drawn = shape in ((3, 8, 8), (8, 8))
    assert page.count("data:image/png") == (8 if drawn else 0)  # two cards of three, two thumbnails
    assert page.count('class="strip"') == (0 if drawn else 6)
    assert ("the 64 of 300 that moved most" in page) == (shape == (300,))


def test_hundred_classes_show_the_ones_that_matter(record: AuditRecord, tmp_path: Path) -> None:
    teacher, student = np.full(100, 1e-3), np.full(100, 1e-3)
    teacher[41], student[77] = 0.9, 0.9
    case = WorstCase(
        0, 0.1, None, np.zeros(4), np.full(4, 0.1), teacher, teacher, teacher, student, 0.9, None
    )
    write_audit_page(tmp_path / "p.html", record, [case])
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    assert "10 of 100 classes" in page
    assert "41, perturbed: teacher 90.0%, student 0.1%" in page
    assert "no bound was proved" in page


def test_nothing_to_show_is_refused(record: AuditRecord, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 points"):
        write_audit_page(tmp_path / "p.html", replace(record, points=[]), [])
    with pytest.raises(InputError, match="the summary has"):
        write_audit_page(tmp_path / "p.html", replace(record, summary=record.summary[:2]), [])
    with pytest.raises(InputError, match="0 methods"):
        write_compare_page(tmp_path / "p.html", {"rows": [{}]}, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_bad_input_and_leaves_nothing(
    record: AuditRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot write the page"):
        write_audit_page(tmp_path / "absent" / "p.html", record, [])

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_audit_page(tmp_path / "p.html", record, [])
    assert list(tmp_path.iterdir()) == []


def test_compare_page(comparison: Any, tmp_path: Path) -> None:
    compare, audits, worst = comparison
    write_compare_page(tmp_path / "p.html", compare, audits, worst)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    text = plain(page)
    for row in compare["summary"]:
        share = "agreement" in row["metric"] or "accuracy" in row["metric"]
        assert (percent if share else number)(row["mean"]) in text
        assert interval((row["low"], row["high"]), share) in text
    assert text.count("inconclusive") >= 2 * 21
    assert "Accuracy against sd: better fd; not better ard; inconclusive rslad." in text
    assert "adaad failed with seeds 0, 2: the training diverged" in text
    assert "fitnets was left out: name their layers" in text
    head = text[text.index('aria-label="Methods"') :]
    head = head[: head.index("</table>")]
    assert head.count("<tr>") == 1 + 1 + 5  # the teacher, four methods and the one that failed
    assert "95.3%" in head
    best = next(r for r in compare["summary"] if r["method"] == "fd" and r["metric"] == "lower_mean@0.1")
    assert f"EmpLB, mean at ε = 0.1: fd has the lowest, {number(best['mean'])}" in text
    assert "Verdict on EmpLB, mean, against sd: ard and rslad inconclusive, fd better." in text
    assert re.search(r">−0\.150<span class=\"iv\">−0\.200 to −0\.100</span>", text)  # fd minus sd
    assert "No undistilled student" in text
    assert page.count("data:image/png") == 3 * sum(len(cases) for cases in worst.values())
    rows = text[text.index('aria-label="All measurements"') :]
    assert rows[: rows.index("</table>")].count("<tr>") == 1 + len(compare["rows"])


def test_compare_page_with_gaps(comparison: Any, bare: AuditRecord, tmp_path: Path) -> None:
    _, audits, _ = comparison
    rows = [
        {"method": HOSTILE, "seed": 0, "metric": "lower_mean@0.1", "value": None},
        {"method": "fd", "seed": 0, "metric": "something new", "value": 0.5},
        {"method": "at", "seed": 0, "metric": "agreement", "value": 1},
    ]
    summary = [{"method": "at", "metric": "agreement", "mean": 1, "low": None, "high": None, "verdict": None}]
    compare = {"schema": 1, "rows": rows, "summary": summary}
    for have in ({"fd": audits["fd"][:1], HOSTILE: []}, {"fd": [bare]}):
        write_compare_page(tmp_path / "p.html", compare, have, {})
        page = (tmp_path / "p.html").read_text(encoding="utf-8")
        found = check_page(page)
        assert found.tags.count("script") == 1
        assert "something new" in page
        assert "Undistilled students at equal budget are included: at." in page
        assert "not measured" in page


def test_compare_page_of_many_methods(comparison: Any, tmp_path: Path) -> None:
    """Lines are drawn of as many as can be told apart: the references and those with the lowest KL."""
    compare, audits, worst = comparison
    many = {**audits, **{f"m{k}": audits["ard"] for k in range(8)}}
    extra = [
        {**row, "method": f"m{k}", "mean": row["mean"] + k}
        for k in range(8)
        for row in compare["summary"]
        if row["method"] == "ard"
    ]
    rows = [{**row, "method": f"m{k}"} for k in range(8) for row in compare["rows"] if row["method"] == "ard"]
    content = {**compare, "rows": compare["rows"] + rows, "summary": compare["summary"] + extra}
    write_compare_page(tmp_path / "p.html", content, many, worst)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    check_page(page)
    assert "Of 12 methods those with the lowest KL are drawn, and the references." in page
    curves = page[page.index("Over the radius") : page.index("Relative calibration")]
    for name, drawn in (("sd", True), ("fd", True), ("m0", True), ("m7", False)):
        assert (f">{name}</text>" in curves) == drawn


def test_radii_in_255ths_meet_their_metrics(audit_maker: Callable[..., AuditRecord], tmp_path: Path) -> None:
    """A metric's name keeps six digits of its radius; the page must still see that it is the same one."""
    grid = (0.0, 8 / 255, 16 / 255)
    audits = {"fd": [audit_maker(radii=grid)]}
    rows = [{"method": "fd", "seed": 3, "metric": f"lower_mean@{eps:g}", "value": eps} for eps in grid]
    summary = [{**row, "mean": row["value"], "low": None, "high": None, "verdict": None} for row in rows]
    compare = {"rows": rows, "summary": summary, "settings": {"train_eps": 8 / 255}}
    write_compare_page(tmp_path / "p.html", compare, audits, {})
    text = plain((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "EmpLB, mean at ε = 8/255: fd has the lowest, 0.031." in text
    assert "ε = 0.03137" not in text
    assert "Method against method" not in text
