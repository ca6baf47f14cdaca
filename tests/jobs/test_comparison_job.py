from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import understudy as us
from understudy.errors import InputError
from understudy.jobs.comparison_job import (
    contrasts,
    draw_comparison,
    higher_is_better,
    over_seeds,
    read_comparison,
    reference_of,
    with_baselines,
)

SMALL: dict[str, Any] = {
    "methods": ["sd", "fd"], "seeds": [0, 2], "train_eps": 0.05, "eps": [0.05], "points": 4, "epochs": 1,
    "examples": 100, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparisons") / "new" / "cmp"
    us.compare(teacher, "mlp[6]", "digits", out=out, **SMALL)
    return out


@pytest.fixture(scope="module")
def content(place: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in compare.json")

    return json.loads((place / "compare.json").read_text(), parse_constant=refuse)


def test_every_method_and_seed_has_a_run_folder_with_its_audit(place: Path) -> None:
    assert {p.name for p in place.iterdir()} == {
        "compare.json", "config.json", "report.html", "sd", "fd", "ce", "at",
    }  # fmt: skip
    for method in ("sd", "fd", "ce", "at"):
        assert {p.name for p in (place / method).iterdir()} == {"0", "2"}
        for seed in ("0", "2"):
            names = {p.name for p in (place / method / seed).iterdir()}
            assert names == {"config.json", "model.safetensors", "metrics.jsonl", "checkpoint", "audit"}
            config = json.loads((place / method / seed / "config.json").read_text())
            assert config["training"]["seed"] == int(seed)
    first, second = ((place / "fd" / seed / "model.safetensors").read_bytes() for seed in ("0", "2"))
    assert first != second


def test_rows_are_what_the_audits_measured(place: Path, content: dict[str, Any]) -> None:
    assert content["schema"] == 1
    for row in content["rows"]:
        assert set(row) == {"method", "seed", "metric", "value"}
        assert math.isfinite(row["value"])
    table = {(r["method"], r["seed"], r["metric"]): r["value"] for r in content["rows"]}
    assert len(table) == len(content["rows"])
    assert {key[0] for key in table} == {"sd", "fd", "ce", "at"}
    assert {key[1] for key in table} == {0, 2}
    for method in ("sd", "at"):
        for seed in (0, 2):
            audit = json.loads((place / method / str(seed) / "audit" / "audit.json").read_text())
            for entry in audit["summary"]:
                for metric in (
                    "lower_mean",
                    "upper_max",
                    "agreement",
                    "certified_agreement",
                    "accuracy_student",
                ):
                    assert table[method, seed, f"{metric}@{entry['eps']:g}"] == entry[metric]
            assert table[method, seed, "relative_ece"] == audit["calibration"]["relative_ece"]


def test_summary_and_contrasts(content: dict[str, Any]) -> None:
    values: dict[tuple[str, str], list[float]] = {}
    for row in content["rows"]:
        values.setdefault((row["method"], row["metric"]), []).append(row["value"])
    assert {(s["method"], s["metric"]) for s in content["summary"]} == set(values)
    for entry in content["summary"]:
        assert {"method", "metric", "mean", "low", "high", "verdict"} <= set(entry)
        assert entry["mean"] == pytest.approx(np.mean(values[entry["method"], entry["metric"]]))
        assert entry["low"] <= entry["mean"] <= entry["high"]
        assert entry["verdict"] in ("better", "not better", "inconclusive", None)
        reference = entry["reference"]
        assert reference == ("at" if entry["method"] in ("fd", "at") else "ce")
        if entry["method"] in ("ce", "at") or higher_is_better(entry["metric"]) is None:
            assert entry["verdict"] is None
        else:
            assert entry["verdict"] is not None
    for entry in content["contrasts"]:
        assert {entry["a"], entry["b"]} == {"sd", "fd"}
        a, b = (np.array(values[entry[side], entry["metric"]]) for side in "ab")
        assert entry["difference"] == pytest.approx(float((a - b).mean()))
        assert entry["low"] <= entry["difference"] <= entry["high"]


def test_it_is_read_back_and_drawn_again(place: Path, content: dict[str, Any]) -> None:
    found = read_comparison(place)
    assert found.content == content
    assert {name: len(a) for name, a in found.audits.items()} == {"sd": 2, "fd": 2, "ce": 2, "at": 2}
    before = (place / "report.html").read_text()
    (place / "report.html").unlink()
    draw_comparison(place, found.content, found.audits)
    assert (place / "report.html").read_text() == before


def test_a_finished_one_is_read_not_repeated(
    place: Path, content: dict[str, Any], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("understudy.jobs.training_job.launch", never)
    monkeypatch.setattr("understudy.jobs.comparison_job.run_audit", never)
    assert us.compare(teacher, "mlp[6]", "digits", out=place, **SMALL).content == content


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ["sd", "ard"]}, r"request\.methods: \['sd', 'fd'\], now \['sd', 'ard'\]"),
        ({"seeds": [0, 1]}, r"request\.seeds"),
        ({"epochs": 2}, r"request\.epochs: 1, now 2"),
        ({"train_eps": 0.06}, r"request\.eps: 0\.05, now 0\.06"),
        ({"eps": [0.04]}, r"audit\.eps: \[0\.0, 0\.05\], now \[0\.0, 0\.04\]"),
        ({"points": 5}, r"audit\.points: 4, now 5"),
        ({"certify": "ibp"}, r"audit\.certify: crown, now ibp"),
        ({"student": "mlp[7]"}, r"request\.model: mlp\[6\], now mlp\[7\]"),
        ({"teacher": True}, r"teacher\.sha256"),
    ],
)
def test_another_comparison_in_its_folder_is_refused_by_name(
    place: Path, teacher: Path, student: Path, changes: dict[str, Any], named: str
) -> None:
    given = {"teacher": teacher, "student": "mlp[6]", "data": "digits", **SMALL, **changes}
    if changes.get("teacher"):
        given["teacher"] = student
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    with pytest.raises(InputError, match=named):
        us.compare(out=place, **given)
    assert before == {p: p.stat().st_mtime_ns for p in place.rglob("*")}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": []}, "name at least one method"),
        ({"methods": ["sd", "sd"]}, "each method once, found sd, sd"),
        ({"methods": ["fd", "faithful_kd"]}, "each method once"),
        ({"methods": ["fdd"]}, "did you mean fd"),
        ({"seeds": []}, "seeds must be one or more different numbers"),
        ({"seeds": [1, 1]}, "seeds must be"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"points": 100_000}, "the split has"),
        ({"eps": [7.0]}, "larger than the whole input range"),
        ({"train_eps": 7.0}, "larger than the whole input range"),
        ({"train_eps": -0.1}, "0 or more, found -0.1"),
        ({"student": "mpl"}, "did you mean mlp"),
        ({"certify": "exakt"}, "unknown certificate 'exakt': did you mean exact"),
        ({"augment": "spin"}, "augment must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"nonsense": 0}, "unknown training setting"),
    ],
)
def test_bad_input_leaves_nothing(teacher: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    given = {"teacher": teacher, "student": "mlp[6]", "data": "digits", **SMALL, **changes}
    with pytest.raises(InputError, match=said):
        us.compare(out=tmp_path / "new" / "cmp", **given)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        us.compare(teacher, "mlp[6]", "digits", out=tmp_path, **SMALL)
    with pytest.raises(InputError, match="another command: train, now compare"):
        us.compare(teacher, "mlp[6]", "digits", out=teacher, **SMALL)
    with pytest.raises(InputError, match=r"compare\.json cannot be read"):
        read_comparison(tmp_path)


def test_a_module_and_tensors_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).train()
    x, y = torch.rand(40, 16), torch.randint(0, 3, (40,))
    done = us.compare(
        teacher, "mlp[5]", (x, y), methods=["sd"], seeds=[0], train_eps=0.1, epochs=1, points=3, batch_size=16,
        out=tmp_path / "cmp", teacher_normalize=".5:.5", valid_range=(0.0, 1.0), certify="none",
    )  # fmt: skip
    record = done.audits["sd"][0]
    assert record.data.classes == 4
    assert teacher.training
    assert record.teacher.sha256 == us.load(teacher).sha256
    with torch.no_grad():
        said = teacher((x[:3] - 0.5) / 0.5).argmax(1)
    assert [p.teacher_class for p in record.points] == said.tolist()
    entry = next(s for s in done.summary if s["metric"] == "agreement@0" and s["method"] == "sd")
    assert entry["low"] is None  # one seed has no spread
    assert entry["verdict"] in ("inconclusive", None)


# The arithmetic ----------------------------------------------------------------------------------------------------


def test_baselines_are_added_where_they_are_missing() -> None:
    assert with_baselines(["sd", "fd"]) == ["sd", "fd", "ce", "at"]
    assert with_baselines(["at", "sd"]) == ["at", "sd", "ce"]
    assert with_baselines(["pgd", "none"]) == ["pgd", "none"]  # other names of at and ce


def test_which_way_is_good() -> None:
    good = ["agreement@0.1", "certified_agreement@0.1", "accuracy_student@0"]
    bad = [
        "lower_mean@0.1",
        "upper_max@0",
        "kl@0",
        "relative_ece",
        "ece_student",
        "nll_student",
        "brier_student",
    ]
    assert all(higher_is_better(m) is True for m in good)
    assert all(higher_is_better(m) is False for m in bad)
    assert higher_is_better("accuracy_teacher@0") is higher_is_better("train_seconds") is None


def test_references_are_students_at_equal_budget() -> None:
    assert {m: reference_of(m) for m in ("sd", "ce", "fd", "ard", "at", "trades")} == {
        "sd": "ce", "ce": "ce", "fd": "at", "ard": "at", "at": "at", "trades": "at",
    }  # fmt: skip


def _rows(values: dict[str, list[float]], metric: str) -> list[dict[str, Any]]:
    return [
        {"method": method, "seed": seed, "metric": metric, "value": value}
        for method, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


@pytest.mark.parametrize(
    ("metric", "fd", "verdict"),
    [
        ("lower_mean@0.1", [0.10, 0.12, 0.11], "better"),
        ("lower_mean@0.1", [0.40, 0.42, 0.41], "not better"),
        ("lower_mean@0.1", [0.10, 0.60, 0.31], "inconclusive"),
        ("agreement@0.1", [0.40, 0.42, 0.41], "better"),
    ],
)
def test_a_verdict_is_on_differences_paired_by_seed(metric: str, fd: list[float], verdict: str) -> None:
    rows = _rows({"fd": fd, "ce": [0.5, 0.5, 0.5], "at": [0.30, 0.32, 0.31]}, metric)
    entry = over_seeds(rows, ["fd", "ce", "at"], [0, 1, 2])[0]
    assert entry["verdict"] == verdict
    assert entry["mean"] == pytest.approx(np.mean(fd))
    half = stats.t.ppf(0.975, 2) * np.std(fd, ddof=1) / math.sqrt(3)
    assert entry["low"] == pytest.approx(max(0.0, np.mean(fd) - half))
    assert entry["high"] == pytest.approx(min(1.0, np.mean(fd) + half))


def test_contrasts_go_both_ways() -> None:
    rows = _rows({"fd": [0.1, 0.2, 0.1], "sd": [0.5, 0.6, 0.55]}, "lower_mean@0.1")
    found = {(c["a"], c["b"]): c for c in contrasts(rows, ["fd", "sd"], [0, 1, 2])}
    assert found["fd", "sd"]["verdict"] == "better"
    assert found["sd", "fd"]["verdict"] == "not better"
    assert found["fd", "sd"]["difference"] == pytest.approx(-found["sd", "fd"]["difference"])
