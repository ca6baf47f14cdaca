from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import understudy as us
from understudy.errors import InputError
from understudy.jobs.comparison_answers import answers, measure, read_answers
from understudy.jobs.comparison_job import draw_comparison, read_comparison
from understudy.jobs.comparison_verdicts import higher_is_better

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
        "compare.json", "config.json", "report.html", "teacher.answers.safetensors",
        "sd", "fd", "ce", "at", "label_smoothing",
    }  # fmt: skip
    for method in ("sd", "fd", "ce", "at"):
        assert {p.name for p in (place / method).iterdir()} == {"0", "2"}
        for seed in ("0", "2"):
            names = {p.name for p in (place / method / seed).iterdir()}
            assert names == {
                "config.json", "model.safetensors", "metrics.jsonl", "checkpoint", "audit", "answers.safetensors",
            }  # fmt: skip
            config = json.loads((place / method / seed / "config.json").read_text())
            assert config["training"]["seed"] == int(seed)
    first, second = ((place / "fd" / seed / "model.safetensors").read_bytes() for seed in ("0", "2"))
    assert first != second


def test_rows_are_what_the_audits_measured(place: Path, content: dict[str, Any]) -> None:
    assert content["schema"] == 2
    for row in content["rows"]:
        assert set(row) == {"method", "seed", "metric", "value"}
        assert math.isfinite(row["value"])
    table = {(r["method"], r["seed"], r["metric"]): r["value"] for r in content["rows"]}
    assert len(table) == len(content["rows"])
    assert {key[0] for key in table} == {"sd", "fd", "ce", "at", "label_smoothing"}
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


def test_what_is_cheap_is_measured_on_the_whole_split(
    place: Path, content: dict[str, Any], teacher: Path
) -> None:
    table = {(r["method"], r["seed"], r["metric"]): r["value"] for r in content["rows"]}
    test = us.load_data("digits", "test")
    assert test.labels is not None
    x = test.inputs(slice(None))
    with torch.no_grad():
        t, s = (us.load(run).module(x).double() for run in (teacher, place / "fd" / "2"))
    known = {
        "accuracy": (s.argmax(1) == test.labels).double(),
        "agreement": (s.argmax(1) == t.argmax(1)).double(),
        "kl": (t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1))).sum(1),
        "nll_student": nn.functional.cross_entropy(s, test.labels, reduction="none"),
    }
    kept = read_answers(place / "fd" / "2" / "answers.safetensors")
    for metric, values in known.items():
        assert len(kept[metric]) == len(test) == 450
        torch.testing.assert_close(kept[metric], values, rtol=1e-4, atol=1e-6)
        assert table["fd", 2, metric] == pytest.approx(float(values.mean()), rel=1e-4)
    own = content["teacher"]["measured"]
    assert own["accuracy"] == pytest.approx(float((t.argmax(1) == test.labels).double().mean()))
    assert 0 <= own["accuracy@0.05"] <= 1


def test_rows_without_a_label_count_where_none_is_needed() -> None:
    t, s = (
        torch.randn(6, 3, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (0, 1)
    )
    labels = torch.tensor([0, -1, 2, 1, -1, 0])
    found = measure(t, s, labels)
    assert found["kl"].shape == (6,)
    assert found["accuracy"].tolist() == (s.argmax(1) == labels)[labels >= 0].double().tolist()
    assert "accuracy" not in measure(t, s, None)
    assert "accuracy" not in measure(t, s, torch.full((6,), -1))


def test_answers_are_those_of_eval_mode_in_one_piece() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    data = us.DataSet("x", "test", torch.rand(1203, 4, generator=torch.Generator().manual_seed(0)))
    said = answers(net, data, torch.device("cpu"))
    assert net.training
    with torch.no_grad():
        torch.testing.assert_close(said, net.eval()(data.inputs(slice(None))).double(), rtol=1e-5, atol=1e-6)


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
        assert entry["reference"] == ("ce" if entry["method"] == "sd" else "sd")
        assert entry["seeds"] == 2
        if higher_is_better(entry["metric"]) is None:
            assert entry["verdict"] is None
        else:
            assert entry["verdict"] is not None
    pairs = {(entry["a"], entry["b"]) for entry in content["contrasts"]}
    assert {("sd", "fd"), ("fd", "sd"), ("fd", "at"), ("sd", "ce"), ("at", "sd"), ("ce", "sd")} <= pairs
    assert ("at", "label_smoothing") not in pairs
    for entry in content["contrasts"]:
        a, b = (np.array(values[entry[side], entry["metric"]]) for side in "ab")
        assert entry["difference"] == pytest.approx(float((a - b).mean()))
        assert entry["low"] <= entry["difference"] <= entry["high"]
    judged = {(v["metric"], v["a"], v["b"]): v for v in content["verdicts"]}
    assert set(judged) == {
        (metric, a, "ce" if a == "sd" else "sd")
        for metric in ("accuracy", "kl")
        for a in ("sd", "fd", "ce", "at", "label_smoothing")
    }
    said = {(e["method"], e["metric"]): e["verdict"] for e in content["summary"]}
    assert all(v["verdict"] == said[a, metric] for (metric, a, _), v in judged.items())


def test_it_is_read_back_and_drawn_again(place: Path, content: dict[str, Any]) -> None:
    found = read_comparison(place)
    assert found.content == content
    assert {name: len(a) for name, a in found.audits.items()} == dict.fromkeys(
        ("sd", "fd", "ce", "at", "label_smoothing"), 2
    )
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
    monkeypatch.setattr("understudy.jobs.comparison_run.run_audit", never)
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
