"""What the page says and draws about bounds that meet, held against the record it was drawn from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from understudy.auditing.record import AuditRecord, PointRecord, RadiusRecord
from understudy.report.findings import known
from understudy.report.meeting import enclosed, meeting_section
from understudy.report.meeting_charts import MOST, Enclosed, bounds_by_point, every, gap_over_time, said
from understudy.report.plot import Frame
from understudy.report.words import number
from understudy.report.worst import WorstCase, gallery, worst_cases

Maker = Callable[..., AuditRecord]


@pytest.fixture(scope="module")
def searched(audit_maker: Maker) -> AuditRecord:
    return audit_maker(search=True)


def with_bounds(record: AuditRecord, bounds: list[tuple[float, float, str]]) -> AuditRecord:
    """So many counted points, with these lower and upper bounds and statuses at the only radius above 0."""
    points = [
        PointRecord(i, 0, 0, 0, True, [
            RadiusRecord(0.0, 0.0, 0.0, "exact", True, 0.0),
            RadiusRecord(0.03, low, high, status, None, 0.1),  # type: ignore[arg-type]
        ])
        for i, (low, high, status) in enumerate(bounds)
    ]  # fmt: skip
    summary = [replace(record.summary[0], eps=0.0), replace(record.summary[-1], eps=0.03)]
    return replace(record, points=points, summary=summary)


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        (
            [(0.1, 0.10005, "exact")] * 6 + [(0.134, 0.149, "timeout"), (0.2, 0.39, "timeout")],
            "At ε = 0.03, for 6 of 8 points the largest difference is known to within 0.0001; for the other 2 it lies "
            "somewhere between 0.134 and 0.149 (point 6) and between 0.200 and 0.390 (point 7); nothing is claimed "
            "about other inputs or larger radii.",
        ),
        (
            [(0.1, 0.10005, "exact")] * 2,
            "At ε = 0.03, for all 2 points the largest difference is known to within 0.0001; nothing is claimed about "
            "other inputs or larger radii.",
        ),
        (
            [(0.1, 0.10005, "exact"), (0.1, 0.2, "bounded")],
            "At ε = 0.03, for 1 of 2 points the largest difference is known to within 0.0001; for the other one it "
            "lies somewhere between 0.100 and 0.200 (point 1); nothing is claimed about other inputs or larger radii.",
        ),
        (
            [(0.1, 0.15 + 0.1 * i, "bounded") for i in range(4)],
            "At ε = 0.03, the largest difference is not known exactly for any of 4 points: it lies somewhere between "
            "what was found and what was proved, 0.050 to 0.350 apart; nothing is claimed about other inputs or larger "
            "radii.",
        ),
    ],
)
def test_one_sentence_says_what_is_known(
    searched: AuditRecord, bounds: list[tuple[float, float, str]], sentence: str
) -> None:
    assert known(with_bounds(searched, bounds), 1) == sentence


def test_every_point_is_drawn_where_its_bounds_are() -> None:
    rows = [Enclosed(7, 0.1, 0.3, False), Enclosed(3, 0.05, 0.05004, True), Enclosed(9, 0.2, 0.25, False)]
    drawn = bounds_by_point("t", rows)
    order = re.findall(r"<title>(Point[^<]*)</title>", drawn)
    assert order == [said(rows[1]), said(rows[2]), said(rows[0])]  # the smallest upper first
    assert order[0] == "Point 3: 0.0500, closed"
    assert order[1] == "Point 9: between 0.2000 and 0.2500"
    assert drawn.count('class="reach"') == drawn.count('class="ceiling"') == 2
    assert "1 of 3 points are closed" in drawn
    frame = Frame((0, 3), (0.0, 0.3))
    ends = [(float(a), float(b)) for a, b in re.findall(r'y1="([\d.]+)" y2="([\d.]+)" class="reach"', drawn)]
    assert np.allclose(ends, [(frame.y(0.2), frame.y(0.25)), (frame.y(0.1), frame.y(0.3))], atol=0.01)


@pytest.mark.parametrize(("points", "part"), [(1, 1), (MOST, 1), (MOST + 1, 2), (10 * MOST, 10)])
def test_of_many_points_some_are_drawn_and_the_worst_is_among_them(points: int, part: int) -> None:
    rows = [Enclosed(i, 0.0, (i + 1) / points, False) for i in range(points)]
    drawn = bounds_by_point("t", rows)
    assert every(points) == part
    assert drawn.count('class="reach"') == math.ceil(points / part)
    assert f"Point {points - 1}:" in drawn


def test_the_mean_gap_over_time_is_the_mean_of_the_points() -> None:
    one = ((0.1, 0.0, 0.8, 1), (1.0, 0.2, 0.6, 5), (10.0, 0.2, 0.2, 9))
    two = ((0.1, 0.0, 0.4, 1), (2.0, 0.1, 0.3, 5))
    drawn = gap_over_time("t", [one, two])
    read = dict(re.findall(r"<title>after ([\d.]+) s: mean gap ([\d.<]+)</title>", drawn))
    for seconds, value in read.items():
        t = float(seconds)
        if any(abs(t - step) / step < 0.05 for step in (1.0, 2.0, 10.0)):
            continue  # rounded to the other side of a step
        gaps = (0.8 if t < 1 else 0.4 if t < 10 else 0.0), 0.4 if t < 2 else 0.2
        assert float(value) == pytest.approx(sum(gaps) / 2, abs=1e-4)
    assert len(read) >= 6
    assert drawn.count("faint") == 2
    assert "from 0.6000 to 0.1000" in drawn


def test_histories_of_no_length_or_no_time_are_drawn() -> None:
    for history in (((0.0, 0.1, 0.1, 0),), ((0.0, 0.1, 0.5, 0), (0.0, 0.1, 0.4, 1)), ((5.0, 0.0, 1.0, 3),)):
        drawn = gap_over_time("t", [history])
        assert "nan" not in drawn
        assert "inf" not in drawn


def test_the_section_counts_what_the_rows_say(searched: AuditRecord) -> None:
    page = meeting_section(searched)
    assert page is not None
    last = [p.radii[-1] for p in searched.points if p.counted]
    assert f"0.0001: {sum(r.status == 'exact' for r in last)} of {len(last)} points" in page
    gap = sum((r.upper or 0) - (r.lower or 0) for r in last) / len(last)
    assert f"Mean gap {number(gap, 4)}." in page
    assert f"{sum(r.nodes or 0 for r in last):,} nodes in all" in page
    assert page.count("The gap over time at") == 2 * 3
    assert "Certified agreement" in page
    assert len(enclosed(searched, 1)) == len(last)


def test_without_a_search_there_is_no_time_and_without_bounds_no_section(audit_maker: Maker) -> None:
    page = meeting_section(audit_maker())
    assert page is not None
    assert "The gap over time" not in page
    assert "Found and proved at ε = 0.1" in page
    assert meeting_section(audit_maker(certify=False)) is None
    assert meeting_section(audit_maker(radii=(0.0,))) is None
    many = meeting_section(audit_maker(radii=(0.0, 0.01, 0.02, 0.03, 0.04, 0.05)))
    assert many is not None
    assert "2 smaller radii" in many


def test_every_case_has_its_link_and_its_card(
    searched: AuditRecord, worst_maker: Callable[..., list[WorstCase]]
) -> None:
    cases = [replace(case, closed=i % 2 == 0) for i, case in enumerate(worst_maker(searched, 20))]
    links = gallery(cases, (0.0, 1.0))
    assert links is not None
    cards = worst_cases(cases, None, (0.0, 1.0), anchors=True)
    for case in cases:
        assert f'href="#point-{case.index}"' in links
        assert f'id="point-{case.index}"' in cards
    assert links.count("◆") == cards.count("closed") == 10
    assert links.count("data:image/png") == 20
    assert "id=" not in worst_cases(cases, None, (0.0, 1.0))
    assert gallery(cases[:1], (0.0, 1.0)) is None
    flat = gallery(worst_maker(searched, 2, (7,)), (None, None))
    assert flat is not None
    assert "img" not in flat
