"""audit.json held against the contract, field by field, and every way in which an audit ends."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import understudy as us
from understudy.bounds.certificate import load as load_certificate
from understudy.bounds.engine import PairBounds
from understudy.errors import GateFailed, InputError, SoundnessError
from understudy.jobs import audit_job
from understudy.jobs.audit_job import whole_folder

EPS = (0.02, 0.06)
FILES = {"audit.json", "witnesses.safetensors", "worst.safetensors", "report.html"}


def quick(teacher: Any, student: Any, data: Any = "digits", **more: Any) -> us.Audit:
    return us.audit(teacher, student, data, **{"eps": EPS, "points": 12, "device": "cpu", **more})


@pytest.fixture(scope="module")
def place(teacher: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audits") / "pair"
    quick(teacher, student, out=out, points=40, start=5)
    return out


@pytest.fixture(scope="module")
def content(place: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in audit.json")

    return json.loads((place / "audit.json").read_text(), parse_constant=refuse)


def exact(model: Path, x: Tensor) -> Tensor:
    """Float64 confidences: (B, C)."""
    with torch.no_grad():
        return us.load(model).module.double()(x.double()).softmax(1)


# The contract ------------------------------------------------------------------------------------------------------


def test_an_audit_writes_its_files_and_no_others(place: Path) -> None:
    assert {p.name for p in place.iterdir()} == FILES
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_models_and_data_are_identified(content: dict[str, Any], teacher: Path, student: Path) -> None:
    assert content["schema"] == 1
    assert next(iter(content)) == "schema"
    for who, folder in (("teacher", teacher), ("student", student)):
        assert content[who]["source"] == str(folder)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert content[who]["sha256"] == digest
    assert content["teacher"]["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    assert len(content["teacher"]["curves"]) == 12
    assert content["data"]["name"] == "digits"
    assert content["data"]["split"] == "test"
    assert content["data"]["shape"] == [1, 8, 8]
    assert (content["data"]["low"], content["data"]["high"]) == (0.0, 1.0)
    assert content["norm"] == "linf"
    settings = content["settings"]
    assert settings["eps"] == [0.0, *EPS]
    assert (settings["points"], settings["start"], settings["certify"]) == (40, 5, "crown")
    assert settings["tolerance"] == 1e-4
    assert set(content["environment"]) >= {"understudy", "torch", "python", "device", "seconds"}


def test_points_stand_in_file_order_and_none_is_dropped(
    content: dict[str, Any], teacher: Path, student: Path
) -> None:
    data = us.load_data("digits", "test")
    rows = slice(5, 45)
    assert data.labels is not None
    assert [p["index"] for p in content["points"]] == list(range(5, 45))
    assert [p["label"] for p in content["points"]] == data.labels[rows].tolist()
    said = exact(teacher, data.inputs(rows)).argmax(1)
    assert [p["teacher_class"] for p in content["points"]] == said.tolist()
    assert [p["student_class"] for p in content["points"]] == exact(student, data.inputs(rows)).argmax(
        1
    ).tolist()
    assert [p["counted"] for p in content["points"]] == (said == data.labels[rows]).tolist()
    assert 0 < sum(p["counted"] for p in content["points"]) < 40


def test_rows_of_radii(content: dict[str, Any]) -> None:
    for point in content["points"]:
        assert [r["eps"] for r in point["radii"]] == [0.0, *EPS]
        for before, now in zip([None, *point["radii"]], point["radii"], strict=False):
            assert now["seconds"] >= 0
            if not point["counted"]:
                assert now["lower"] is now["upper"] is None
                assert now["status"] == "skipped"
                assert now["same_class"] in (None, False)
                continue
            assert 0 <= now["lower"] <= now["upper"] <= 1
            close = now["upper"] - now["lower"] <= content["settings"]["tolerance"]
            assert now["status"] == ("exact" if close else "bounded")
            if before is not None:
                assert now["lower"] >= before["lower"]
                assert (before["same_class"], now["same_class"]) != (False, True)
        first = point["radii"][0]
        if point["counted"]:
            assert first["status"] == "exact"
        same = point["teacher_class"] == point["student_class"]
        assert first["same_class"] is (same if point["counted"] or not same else None)


def test_the_summary_follows_from_the_rows(content: dict[str, Any]) -> None:
    assert [entry["eps"] for entry in content["summary"]] == [0.0, *EPS]
    for i, entry in enumerate(content["summary"]):
        rows = [p["radii"][i] for p in content["points"] if p["counted"]]
        assert entry["counted"] == len(rows)
        lower, upper = ([r[name] for r in rows] for name in ("lower", "upper"))
        assert entry["lower_mean"] == pytest.approx(np.mean(lower))
        assert entry["upper_mean"] == pytest.approx(np.mean(upper))
        assert entry["upper_max"] == max(upper)
        assert entry["closed_fraction"] == np.mean([r["status"] == "exact" for r in rows])
        assert entry["certified_agreement"] == np.mean([r["same_class"] is True for r in rows])
        for name in ("lower_mean", "upper_mean", "certified_agreement", "agreement", "accuracy_teacher"):
            low, high = entry[f"{name}_interval"]
            assert low <= entry[name] <= high
    clean = content["summary"][0]
    points = content["points"]
    assert clean["agreement"] == np.mean([p["teacher_class"] == p["student_class"] for p in points])
    assert clean["accuracy_teacher"] == np.mean([p["teacher_class"] == p["label"] for p in points])
    assert clean["accuracy_student"] == np.mean([p["student_class"] == p["label"] for p in points])
    for who in ("accuracy_teacher", "accuracy_student"):
        values = [entry[who] for entry in content["summary"]]
        assert values == sorted(values, reverse=True)


def test_witnesses_lie_in_the_ball_and_the_range_and_reproduce_lower(
    place: Path, content: dict[str, Any], teacher: Path, student: Path
) -> None:
    witnesses = load_file(place / "witnesses.safetensors")["witnesses"]
    assert witnesses.dtype == torch.float64
    assert witnesses.shape == (40, 3, 1, 8, 8)
    inputs = us.load_data("digits", "test").inputs(slice(5, 45)).double()
    assert witnesses.min() >= 0
    assert witnesses.max() <= 1
    for i, eps in enumerate((0.0, *EPS)):
        assert (witnesses[:, i] - inputs).abs().max() <= eps + 1e-12
        gap = (exact(teacher, witnesses[:, i]) - exact(student, witnesses[:, i])).abs().amax(1)
        agree = exact(teacher, witnesses[:, i]).argmax(1) == exact(student, witnesses[:, i]).argmax(1)
        assert content["summary"][i]["agreement"] == pytest.approx(float(agree.double().mean()))
        for row, point in enumerate(content["points"]):
            if point["counted"]:
                assert point["radii"][i]["lower"] == pytest.approx(float(gap[row]), abs=1e-12)


def test_calibration_is_there(content: dict[str, Any]) -> None:
    found = content["calibration"]
    for name in ("ece_teacher", "ece_student", "brier_teacher", "brier_student", "relative_ece"):
        assert 0 <= found[name] <= 2
    assert sum(found["difference_histogram"]) == 40
    assert len(found["difference_edges"]) == len(found["difference_histogram"]) + 1


# Other audits ------------------------------------------------------------------------------------------------------


def test_all_points(teacher: Path, student: Path) -> None:
    found = quick(teacher, student, all_points=True, points=30).record
    assert all(p.counted and p.radii[-1].lower is not None for p in found.points)
    assert any(p.label != p.teacher_class for p in found.points)
    assert found.summary[0].counted == 30


@pytest.mark.parametrize("valid", [(0.0, 1.0), None])
def test_tensors_without_labels(
    teacher: Path, student: Path, tmp_path: Path, valid: tuple[float, float] | None
) -> None:
    x = torch.rand(6, 1, 8, 8)
    t, s = us.load(teacher).module, us.load(student).module
    out = tmp_path / "audit"
    done = quick(t, s, (x, None), points=None, valid_range=valid, out=out)
    content = json.loads((out / "audit.json").read_text())
    for point in content["points"]:
        assert point["label"] is None
        assert point["counted"] is True
        assert point["radii"][-1]["upper"] is not None
    for entry in content["summary"]:
        assert entry["accuracy_teacher"] is None
        assert entry["accuracy_student"] is None
        assert entry["agreement"] is not None
    assert content["calibration"]["ece_student"] is None
    assert (content["data"]["low"], content["data"]["high"]) == (valid or (None, None))
    inside = bool((done.witnesses >= 0).all() and (done.witnesses <= 1).all())
    assert inside is (valid is not None)
    assert content["teacher"]["sha256"] == us.load(t).sha256
    assert (out / "report.html").exists()


def test_labels_of_ones_own_that_stop_short_of_the_last_class(teacher: Path, student: Path) -> None:
    data = us.load_data("digits", "test")
    assert data.labels is not None
    few = data.labels < 4
    found = us.audit(
        us.load(teacher).module,
        us.load(student).module,
        (data.inputs(few.nonzero()[:5, 0]), data.labels[few][:5]),
        eps=0.02,
        valid_range=(0.0, 1.0),
    )
    assert found.record.data.classes == 10
    assert found.summary[0].accuracy_teacher is not None


def test_l2(teacher: Path, student: Path) -> None:
    done = quick(teacher, student, norm="l2", eps=0.3, points=6)
    inputs = us.load_data("digits", "test").inputs(slice(0, 6)).double()
    assert (done.witnesses[:, 1] - inputs).flatten(1).norm(dim=1).max() <= 0.3 + 1e-9
    for point in done.record.points:
        for r in point.radii:
            if point.counted:
                assert r.lower is not None
                assert r.upper is not None
                assert r.lower <= r.upper
    assert done.record.norm == "l2"


@pytest.mark.parametrize("mode", ["none", "ibp", "crown", "alpha"])
def test_ways_of_certifying(teacher: Path, student: Path, mode: Any) -> None:
    record = quick(teacher, student, certify=mode, points=8).record
    for entry in record.summary:
        assert (entry.upper_mean is None) is (mode == "none")
        assert (entry.certified_agreement is None) is (mode == "none")
        assert (entry.closed_fraction is None) is (mode == "none")
        assert entry.lower_mean is not None
    for point in record.points:
        for radius in point.radii:
            assert (radius.status == "skipped") is (mode == "none" or not point.counted)


def test_crown_is_no_looser_than_ibp_and_both_hold(teacher: Path, student: Path) -> None:
    crown, ibp = (quick(teacher, student, certify=mode).summary[-1] for mode in ("crown", "ibp"))
    assert crown.lower_mean == ibp.lower_mean
    assert crown.upper_mean is not None
    assert ibp.upper_mean is not None
    assert crown.upper_mean <= ibp.upper_mean


def test_a_time_limit_leaves_sound_bounds() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(3) for m in (nn.Linear(64, 64), nn.ReLU())]
    deep, flat = (
        nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    )
    free, short = (quick(deep, flat, points=4, all_points=True, time_limit=limit) for limit in (None, 1e-9))
    found = [r for p in short.record.points if p.counted for r in p.radii[1:]]
    assert {r.status for r in found} == {"timeout"}
    assert all(r.lower is not None and r.upper is not None and r.lower <= r.upper for r in found)
    assert short.summary[-1].upper_mean >= free.summary[-1].upper_mean  # type: ignore[operator]


def test_twice_the_same_seed_is_twice_the_same_audit(teacher: Path, student: Path) -> None:
    one, two = (quick(teacher, student, seed=7) for _ in range(2))
    assert torch.equal(one.witnesses, two.witnesses)
    assert one.summary == two.summary


def test_both_models_are_left_as_they_were(teacher: Path, student: Path, tmp_path: Path) -> None:
    models = [us.load(folder).module.train() for folder in (teacher, student)]
    models[0][-1].eval()  # type: ignore[index]
    modes = [part.training for m in models for part in m.modules()]
    state = [v.clone() for m in models for v in m.state_dict().values()]
    x = torch.rand(2, 1, 8, 8)
    random = torch.get_rng_state()

    def held() -> None:
        assert [part.training for m in models for part in m.modules()] == modes
        assert all(
            torch.equal(a, b)
            for a, b in zip(state, [v for m in models for v in m.state_dict().values()], strict=True)
        )
        assert all(p.requires_grad and p.grad is None for m in models for p in m.parameters())
        assert not any(part._forward_hooks for m in models for part in m.modules())
        assert torch.equal(torch.get_rng_state(), random)

    quick(*models, points=3)
    held()
    with pytest.raises(InputError):
        quick(*models, eps=7.0)
    held()
    with pytest.raises(GateFailed):
        quick(*models, points=3, fail_above=0.0)
    held()
    us.certify(*models, x, 0.01)
    held()
    with pytest.raises(InputError):
        us.certify(*models, x, -0.01)
    held()


# Searches ---------------------------------------------------------------------------------------------------------


def test_certificates_need_a_folder(teacher: Path, student: Path) -> None:
    with pytest.raises(InputError, match="certificates are files"):
        quick(teacher, student, certify="exact", certificates=True)


def test_an_exact_audit(teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    quick(teacher, student, certify="exact", time_limit=2.0, points=3, eps=0.01, certificates=True, out=out)
    content = json.loads((out / "audit.json").read_text())
    assert content["settings"]["time_limit"] == 2.0
    named = []
    for point in content["points"]:
        before, now = point["radii"]
        if not point["counted"]:
            continue
        assert before["lower"] <= now["lower"] <= now["upper"]
        assert now["status"] in ("exact", "timeout")
        assert (now["status"] == "exact") is (now["upper"] - now["lower"] <= 1e-4)
        rows = now["history"]
        assert 1 <= len(rows) <= 40
        assert all(a[1] <= b[1] and a[2] >= b[2] for a, b in itertools.pairwise(rows))
        assert rows[-1][2] == pytest.approx(now["upper"], abs=1e-12)
        if now["certificate"] is not None:
            named.append(now["certificate"])
            one = load_certificate(out / now["certificate"])
            assert one.networks["teacher"].file == content["teacher"]["sha256"]
            assert one.upper == now["upper"]
    assert {f"certificates/{p.name}" for p in (out / "certificates").iterdir()} == set(named)
    assert {p.name for p in out.iterdir()} == FILES | {"certificates"}


def test_an_interrupted_search_leaves_nothing(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PairBounds, "bound", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(teacher, student, certify="exact", time_limit=1.0, out=tmp_path / "audit")
    assert not list(tmp_path.iterdir())


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eps": -0.1}, r"eps must be a finite number, 0 or more, found -0\.1"),
        ({"eps": [0.1, math.nan]}, r"eps must be a finite number"),
        ({"eps": math.inf}, r"eps must be a finite number"),
        ({"eps": 1.5}, r"eps 1\.5 is larger than the whole input range \[0, 1\]"),
        ({"points": 0}, r"points must be 1 or more"),
        ({"start": -1}, r"start must be 0 or more"),
        ({"start": 100_000}, r"start 100000 lies past the last row: the split has \d+"),
        ({"points": 100_000}, r"points 0\.\.99999 were asked for; the split has \d+ rows"),
        ({"split": "tset"}, r"unknown split .*did you mean test"),
        ({"certificates": True}, r"certificates come from --certify alpha or exact .* found crown over linf"),
        (
            {"certificates": True, "certify": "exact", "norm": "l2"},
            r"over linf balls, found exact over l2",
        ),
        ({"certify": "crwon"}, r"did you mean crown"),
        ({"norm": "l3"}, r"unknown norm 'l3'"),
        ({"tolerance": math.nan}, r"tolerance must be"),
        ({"tolerance": math.inf}, r"tolerance must be"),
        ({"tolerance": -1.0}, r"tolerance must be"),
        ({"time_limit": 0.0}, r"time_limit \(seconds\) must be a finite number above 0"),
        ({"time_limit": math.inf}, r"time_limit"),
        ({"seed": -1}, r"seed must be 0 or more"),
        ({"device": "tpu"}, r"device must be auto, cpu or cuda, found 'tpu'"),
        ({"fail_above": 1.5}, r"fail_above must be a difference in confidence, 0\.\.1, found 1\.5"),
        ({"fail_above": math.nan}, r"fail_above must be"),
        ({"fail_above": 0.5, "certify": "none"}, r"a gate over none never passes"),
        ({"valid_range": (0.0, 2.0)}, r"for a user's own tensors only"),
        ({"student_normalize": "1:0"}, r"std must be above 0"),
        ({"student_normalize": ".5:.5"}, r""),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    teacher: Path, student: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    if changes.get("student_normalize") == ".5:.5":
        changes = {"student_normalize": ".5:.5,.4"}
        said = "equally long"
    with pytest.raises(InputError, match=said):
        quick(teacher, student, out=tmp_path / "new" / "audit", **changes)
    assert not list(tmp_path.iterdir())


def test_models_that_do_not_match_are_both_shown(teacher: Path, tmp_path: Path) -> None:
    for certify in ("none", "crown"):
        for other, said in [
            (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"\(2, 7\).*\(2, 10\)"),
            (nn.Linear(3, 10), r"takes 3 values.*\(1, 8, 8\)"),
        ]:
            for pair in ((teacher, other), (other, teacher)):
                with pytest.raises(InputError, match=said):
                    quick(*pair, certify=certify, out=tmp_path / "audit")
    unlabelled = (torch.rand(4, 64), None)
    five, ten = nn.Linear(64, 5), nn.Linear(64, 10)
    for certify in ("none", "crown"):
        with pytest.raises(InputError, match=r"\(2, 10\).*\(2, 5\) are needed"):
            quick(five, ten, unlabelled, points=None, certify=certify, out=tmp_path / "audit")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_bounded_leaves_nothing(tmp_path: Path) -> None:
    odd = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSigmoid())
    with pytest.raises(InputError, match="cannot be bounded"):
        quick(odd, odd, (torch.rand(3, 64), None), points=None, out=tmp_path / "audit")
    assert not list(tmp_path.iterdir())


# The gate ----------------------------------------------------------------------------------------------------------


def test_a_gate_names_the_points_above_it(teacher: Path, student: Path, tmp_path: Path) -> None:
    quick(teacher, student, fail_above=1.0, out=tmp_path / "passes")
    with pytest.raises(GateFailed) as caught:
        quick(teacher, student, fail_above=0.01, out=tmp_path / "fails")
    content = json.loads((tmp_path / "fails" / "audit.json").read_text())
    assert content["settings"]["fail_above"] == 0.01
    uppers = [(p["index"], r["upper"]) for p in content["points"] for r in p["radii"] if p["counted"]]
    index, highest = max(uppers, key=lambda pair: pair[1])
    assert highest > 0.01
    assert f"at point {index} (eps" in str(caught.value)  # the worst one first
    assert {p.name for p in (tmp_path / "fails").iterdir()} == FILES
    quick(teacher, student, fail_above=highest)  # at the limit is not above it


def test_a_gate_over_no_counted_point_is_bad_input(teacher: Path, student: Path, tmp_path: Path) -> None:
    data = us.load_data("digits", "test")
    assert data.labels is not None
    wrong = us.DataSet("wrong", "test", data.inputs(slice(0, 5)), (data.labels[:5] + 5) % 10, classes=10)
    with pytest.raises(InputError, match="none counts: the teacher gets them all wrong"):
        quick(teacher, student, wrong, points=5, fail_above=0.9, out=tmp_path / "audit")
    assert not list(tmp_path.iterdir())
    done = quick(
        teacher, student, wrong, points=5, out=tmp_path / "audit"
    )  # without a gate: an audit of nothing
    assert done.summary[0].counted == 0
    assert done.summary[-1].upper_mean is None
    assert done.summary[-1].lower_mean is None
    assert done.summary[0].accuracy_teacher == 0
    assert (
        json.loads((tmp_path / "audit" / "audit.json").read_text())["summary"][0]["certified_agreement"]
        is None
    )


# Contradictions ----------------------------------------------------------------------------------------------------


def test_a_lower_bound_above_an_upper_one_is_saved_and_raised(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PairBounds.bound

    def lying(self: PairBounds, inputs: Tensor, ball: us.Ball, **more: Any) -> Any:
        found = real(self, inputs, ball, **more)
        return [replace(b, upper=b.upper / 1000) if ball.eps == EPS[1] else b for b in found]

    monkeypatch.setattr(PairBounds, "bound", lying)
    out = tmp_path / "audit"
    with pytest.raises(SoundnessError, match=r"contradict each other: point \d+ at eps 0\.06 .*unsound"):
        quick(teacher, student, out=out, fail_above=0.0)
    content = json.loads((out / "audit.json").read_text())
    case = load_file(out / "unsound.safetensors")
    assert (case["lower"] > case["upper"]).all()
    assert (case["eps"] == EPS[1]).all()
    counted = [p for p in content["points"] if p["counted"]]
    assert case["index"].tolist() == [p["index"] for p in counted]
    assert case["lower"].tolist() == [p["radii"][2]["lower"] for p in counted]
    assert case["upper"].tolist() == [p["radii"][2]["upper"] for p in counted]
    data = us.load_data("digits", "test")
    assert torch.equal(case["inputs"], data.inputs(case["index"]))
    gap = (exact(teacher, case["witness"]) - exact(student, case["witness"])).abs().amax(1)
    torch.testing.assert_close(gap, case["lower"])
    with pytest.raises(SoundnessError, match="contradict each other"):
        quick(teacher, student)


def test_a_class_proved_the_same_where_a_witness_shows_two_is_a_contradiction_too(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PairBounds.bound

    def lying(self: PairBounds, *args: Any, **more: Any) -> Any:
        return [replace(b, same_class=True) for b in real(self, *args, **more)]

    monkeypatch.setattr(PairBounds, "bound", lying)
    with pytest.raises(SoundnessError, match=r"same class.*unsound\.safetensors"):
        quick(teacher, student, eps=0.3, out=tmp_path / "audit")


def test_a_contradiction_by_the_last_bit_is_one(
    teacher: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PairBounds.bound

    def by(change: Any) -> Any:
        def rounded(self: PairBounds, inputs: Tensor, ball: us.Ball, *, lower: Tensor, **more: Any) -> Any:
            found = real(self, inputs, ball, lower=lower, **more)
            return [replace(b, upper=change(float(low))) for b, low in zip(found, lower, strict=True)]

        return rounded

    monkeypatch.setattr(PairBounds, "bound", by(lambda low: low))
    for point in quick(teacher, student).record.points:
        for radius in point.radii:
            assert radius.upper == radius.lower
    monkeypatch.setattr(PairBounds, "bound", by(lambda low: math.nextafter(low, 0.0)))
    with pytest.raises(SoundnessError, match="contradict each other"):
        quick(teacher, student)


# Files -------------------------------------------------------------------------------------------------------------


def test_a_folder_in_use_or_that_cannot_be_is_refused(teacher: Path, student: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "a").write_text("mine")
    (tmp_path / "file").write_text("")
    for out, said in [("used", "not empty"), ("file", "cannot be made"), ("file/below", "cannot be made")]:
        with pytest.raises(InputError, match=said):
            quick(teacher, student, out=tmp_path / out, points=2)
    with pytest.raises(InputError, match="mount point"):
        quick(teacher, student, out="/proc", points=2)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "file", "used"]


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("step", ["write_json", "save_file", "write_audit_page"])
def test_a_full_disk_leaves_nothing(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existed: bool
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "new" / "audit"
    if existed:
        out.mkdir(parents=True)
    monkeypatch.setattr(audit_job, step, full)
    with pytest.raises(InputError, match="No space left"):
        quick(teacher, student, out=out, points=2, eps=0.0, certify="none")
    assert [p.name for p in tmp_path.rglob("*")] == (["new", "audit"] if existed else [])


def test_an_empty_folder_is_used_also_through_a_link_or_as_the_working_folder(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    quick(teacher, student, out=tmp_path / "link", points=2, eps=0.0, certify="none")
    assert (tmp_path / "link").is_symlink()
    assert {p.name for p in (tmp_path / "real").iterdir()} == FILES
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    quick(teacher, student, out=".", points=2, eps=0.0, certify="none")
    assert {p.name for p in (tmp_path / "here").iterdir()} == FILES


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path, error: type[BaseException]) -> None:
    def stop() -> None:
        with whole_folder(tmp_path / "a" / "b") as partial:
            save_file({"x": torch.ones(3)}, partial / "x.safetensors")
            raise error

    with pytest.raises(InputError if error is OSError else error):
        stop()
    assert not list(tmp_path.iterdir())
    (tmp_path / ".b.partial").mkdir()  # left by a kill
    (tmp_path / ".b.partial" / "old").write_text("")
    with whole_folder(tmp_path / "b") as partial:
        (partial / "new").write_text("")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["b", "new"]


def test_what_was_loaded_before_can_be_audited(teacher: Path, student: Path) -> None:
    one = quick(us.load(teacher, data="digits"), us.load(student), points=3)
    two = quick(teacher, student, points=3)
    assert one.summary == two.summary
    assert one.record.teacher.sha256 == two.record.teacher.sha256


@pytest.mark.parametrize(
    "kinds", [(torch.float64, torch.float64), (torch.float32, torch.float64), (torch.bfloat16, torch.float32)]
)
def test_models_of_other_precisions(kinds: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(kind) for kind in kinds]
    done = quick(*nets, points=3, all_points=True)
    inputs = done.witnesses[:, 2]
    with torch.no_grad():
        t, s = ((inputs.flatten(1) @ n[1].weight.double().T + n[1].bias.double()).softmax(1) for n in nets)
    lower = [p.radii[2].lower for p in done.record.points]
    assert lower == pytest.approx((t - s).abs().amax(1).tolist(), abs=1e-12)
    assert [n[1].weight.dtype for n in nets] == list(kinds)
    for point in done.record.points:
        assert all(r.lower <= r.upper for r in point.radii)  # type: ignore[operator]


def test_normalisation_keeps_the_radius_in_the_datas_units() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():  # the same function without a normalisation: (x - .5) / .25
        other[1].weight.copy_(body[1].weight / 0.25)  # type: ignore[union-attr, operator, arg-type]
        other[1].bias.copy_(body[1].bias - 0.5 * other[1].weight.sum(1))  # type: ignore[union-attr, operator, arg-type]
    x = torch.rand(4, 1, 8, 8)
    found = quick(body, other, (x, None), points=None, valid_range=(0.0, 1.0), teacher_normalize=".5:.25")
    assert found.summary[-1].lower_mean == pytest.approx(0, abs=1e-5)
    assert found.summary[-1].upper_max == pytest.approx(0, abs=1e-4)
