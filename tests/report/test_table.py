"""Terminal tables: every number, within 80 columns, without colour."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from understudy.auditing.record import AuditRecord
from understudy.report.table import audit_table, compare_table
from understudy.report.words import number, percent


def shown(what: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return out.getvalue()


def test_audit_table_fits_80_columns_and_is_complete(record: AuditRecord) -> None:
    text = shown(audit_table(record))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    for row in record.summary:
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [f"{row.eps:g}"]]
        values = [number(v) for v in (row.lower_mean, row.upper_mean, row.upper_max)]
        shares = (row.certified_agreement, row.agreement, row.accuracy_teacher, row.accuracy_student)
        assert line.split()[1:] == [*values, *(percent(share) for share in shares)]
    assert f"100 points of digits (test), {sum(p.counted for p in record.points)} counted" in text
    assert "\x1b" not in text


def test_audit_table_of_radii_in_255ths(audit_maker: Callable[..., AuditRecord]) -> None:
    text = shown(audit_table(audit_maker(radii=(0.0, 8 / 255, 16 / 255))))
    assert "8/255" in text
    assert "16/255" in text


def test_absent_values_are_dashes(bare: AuditRecord) -> None:
    text = shown(audit_table(bare))
    (line,) = [line for line in text.splitlines() if line.startswith(" 0.05")]
    assert line.split()[1:5] == ["–"] * 4
    assert line.split()[6:] == ["–", "–"]
    assert "None" not in text


def test_compare_table(comparison: Any) -> None:
    compare = comparison[0]
    text = shown(compare_table(compare))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    at = {(row["method"], row["metric"]): row for row in compare["summary"]}
    for method, sign in (("sd", None), ("ard", "?"), ("fd", "+")):
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [method] and "%" in line]
        values = [percent(at[method, m]["mean"]) for m in ("accuracy", "agreement")]
        values += [
            number(at[method, m]["mean"]) for m in ("kl", "relative_ece", "lower_mean@0.1", "upper_mean@0.1")
        ]
        found = line.split()[1:]
        assert [word for word in found if word not in "+–?"][:6] == values
        assert found.count(sign or "+") == (6 if sign else 0)
    (line,) = [line for line in text.splitlines() if line.split()[:1] == ["teacher"]]
    assert line.split()[1:] == ["95.3%", *["–"] * 7]
    kl = at["fd", "kl"]
    assert f"±{number(kl['mean'] - kl['low']).removeprefix('0')}" in text
    flat = " ".join(text.split())
    assert "EmpLB and FaithUB at ε = 0.1" in flat
    assert "Accuracy against sd: better fd; not better ard; inconclusive rslad." in flat
    assert "If all 3 methods equalled what they are held against, about 0.1 would be called better" in flat
    assert "adaad failed with seeds 0, 2: the training diverged" in flat
    assert "fitnets was left out: name their layers" in flat
    pair = [number(at["rslad", f"{name}_mean@0.05"]["mean"])[1:] for name in ("lower", "upper")]
    assert "–".join(pair) in text


def test_long_names_go_on_in_the_next_line(comparison: Any) -> None:
    compare = comparison[0]
    rows = [{**row, "method": "label_smoothing"} for row in compare["summary"] if row["method"] == "fd"]
    rows += [{**row, "method": "understudyofmine"} for row in compare["summary"] if row["method"] == "sd"]
    lines = shown(compare_table({**compare, "summary": rows})).splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.split()[:1] == ["label_"] and "%" in line]
    assert lines[first + 1].split()[0] == "smoothing"
    assert any(line.startswith(" understudyofmine ") for line in lines)


@pytest.mark.parametrize("compare", [{}, {"summary": []}])
def test_compare_table_of_nothing(compare: dict[str, Any]) -> None:
    assert "Means over seeds" in shown(compare_table(compare))


def test_compare_table_of_unknown_metrics_and_markup() -> None:
    row = {"method": "[red]x[/red]", "metric": "odd thing", "mean": 0.25, "low": None, "high": None}
    text = shown(compare_table({"summary": [{**row, "verdict": None}]}))
    assert "[red]x[/red]" in text
    assert "0.250" in text
