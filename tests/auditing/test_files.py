from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.auditing.examine import Examination
from understudy.auditing.files import from_json, read_audit, to_json
from understudy.auditing.record import AuditRecord, DataRecord, ModelRecord
from understudy.auditing.rows import point_records
from understudy.auditing.summary import calibrate, summarise
from understudy.errors import InputError

Look = Callable[..., Examination]


def made(found: Examination) -> AuditRecord:
    points = point_records(found, 0)
    return AuditRecord(
        teacher=ModelRecord("t", "00", 3, [{"epoch": 1, "loss": 0.1}]),
        student=ModelRecord("s", "11", 2),
        data=DataRecord("made", "test", 9, [6], 3, None, None, "ff", ["a", "b", "c"]),
        norm="linf",
        settings={"eps": [0.0, 0.05, 0.2]},
        points=points,
        summary=summarise(found, points),
        calibration=calibrate(found),
        environment={"seconds": 1 / 3},
    )


@pytest.mark.parametrize("certify", ["none", "crown"])
def test_a_record_comes_back_equal(look: Look, certify: str) -> None:
    record = made(look(certify=certify))
    text = json.dumps(to_json(record), allow_nan=False)
    assert from_json(json.loads(text)) == record
    assert text.startswith('{"schema": 1')


def test_a_search_and_its_course_come_back_and_files_without_them_are_read(look: Look) -> None:
    record = made(look(eps=(0.05,)))
    history = ((0.1, 0.2, 0.9, 1), (0.5, 0.25, 0.5, 40))
    first = record.points[1]
    searched = replace(
        first.radii[1],
        nodes=40,
        history=history,
        used="search",
        certificate="certificates/point-1-eps-0.05.npz",
    )
    points = [record.points[0], replace(first, radii=[first.radii[0], searched]), *record.points[2:]]
    content = json.loads(json.dumps(to_json(replace(record, points=points)), allow_nan=False))
    assert from_json(content).points == points
    for point in content["points"]:
        for radius in point["radii"]:
            for name in ("nodes", "history", "certificate"):
                del radius[name]
    old = from_json(content).points[1].radii[1]
    assert (old.nodes, old.history, old.certificate) == (None, None, None)
    content["points"][1]["radii"][1]["history"] = [[0.1, 0.2]]
    with pytest.raises(InputError, match=r"not an audit\.json of schema 1"):
        from_json(content)


def test_numbers_that_json_has_not_are_a_bug(look: Look) -> None:
    record = made(look(certify="none"))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"audit\.environment\.seconds is"):
            to_json(replace(record, environment={"seconds": bad}))
        with pytest.raises(ValueError, match=r"audit\.settings\.eps\[1\] is"):
            to_json(replace(record, settings={"eps": [0.0, bad]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(schema=2), "schema 2; this version reads 1"),
        (lambda c: c.pop("schema"), "schema None"),
        (lambda c: c.pop("points"), "not an audit.json of schema 1: 'points'"),
        (lambda c: c["points"][0].update(colour="red"), "colour"),
        (lambda c: c["summary"][0].pop("eps"), "eps"),
        (lambda c: c.update(calibration=3), "not an audit.json"),
    ],
)
def test_other_files_are_refused(look: Look, change: Callable[[dict[str, Any]], None], said: str) -> None:
    content = json.loads(json.dumps(to_json(made(look(certify="none", eps=())))))
    change(content)
    with pytest.raises(InputError, match=said):
        from_json(content)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audit\.json cannot be read"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"schema": 1, ')
    with pytest.raises(InputError, match=r"audit\.json cannot be read"):
        read_audit(tmp_path)
