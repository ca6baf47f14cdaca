"""Students that are fitted: their folders, what is refused, and their audits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import understudy as us
from understudy.auditing.files import read_audit
from understudy.data.dataset import DataSet
from understudy.data.tabular import Table
from understudy.errors import InputError
from understudy.jobs.estimator_job import REPORT
from understudy.models.estimators import Additive, Tree

TREE = {"depth": "5"}
QUICK = {"kind": "linear", "bags": "2", "folds": "2", "permutations": "50"}


def tree(teacher: Any, data: Any = "digits", **more: Any) -> us.Run:
    return us.distill(teacher, None, data, method="decision_tree_kd", **{"options": TREE, **more})


def scored(rows: int = 400) -> Table:
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] + x[:, 1] > 1 + 0.5 * (x[:, 2] - 0.5)).long()
    return Table("scored", "train", x, labels, features=("a", "b", "c"), scores=x[:, 0] + x[:, 1])


def test_the_folder_is_a_run_and_opens_as_a_model(teacher: Path, tmp_path: Path) -> None:
    run = tree(teacher, out=tmp_path / "run", seed=3)
    assert isinstance(run.student, Tree)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "config.json", "metrics.jsonl", "model.safetensors",
    ]  # fmt: skip
    opened = us.load(tmp_path / "run", data="digits")
    x = us.load_data("digits", "test").inputs(slice(None))
    assert torch.equal(opened.module(x), run.student(x))
    assert opened.curves == run.curves
    (row,) = run.curves
    assert row["depth"] == 5
    assert row["nodes"] == len(run.student.feature)
    data = us.load_data("digits")
    said = run.student(data.inputs(slice(None))).argmax(1)
    by_teacher = us.load(teacher).module(data.inputs(slice(None))).argmax(1)
    assert row["train_accuracy"] == pytest.approx(float((said == data.labels).double().mean()))
    assert row["agreement"] == pytest.approx(float((said == by_teacher).double().mean()))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["depth"] == 5
    assert config["teacher"]["sha256"] == us.load(teacher).sha256


def test_without_a_folder_and_resumed_it_is_the_same(teacher: Path, tmp_path: Path) -> None:
    kept, loose = tree(teacher, out=tmp_path / "run"), tree(teacher)
    assert loose.folder is None
    x = us.load_data("digits", "test").inputs(slice(None))
    assert torch.equal(kept.student(x), loose.student(x))
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    again = tree(teacher, resume=tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    assert torch.equal(again.student(x), kept.student(x))
    assert again.curves == kept.curves
    (tmp_path / "run" / "model.safetensors").unlink()
    assert torch.equal(tree(teacher, resume=tmp_path / "run").student(x), kept.student(x))
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    with pytest.raises(InputError, match=r"recipe\.depth: 5, now 6"):
        tree(teacher, options={"depth": "6"}, resume=tmp_path / "run")


def test_a_tables_recorded_scores_need_no_teacher(tmp_path: Path) -> None:
    run = us.distill(None, None, scored(), method="distill_and_compare", options=QUICK, out=tmp_path / "run")
    assert isinstance(run.student, Additive)
    report = json.loads((tmp_path / "run" / REPORT).read_text())
    assert report["score"] == "recorded"
    assert [term["feature"] for term in report["terms"]] == ["a", "b", "c"]
    assert report["fidelity"]["r2"] == run.curves[0]["r2"]
    assert report["fidelity"]["r2"] > 0.9
    assert "agreement" not in run.curves[0]
    assert us.load(tmp_path / "run").source == str(tmp_path / "run")


def test_the_audit_reports_what_it_can_and_names_what_it_skips(teacher: Path, tmp_path: Path) -> None:
    tree(teacher, out=tmp_path / "run")
    done = us.audit(teacher, tmp_path / "run", "digits", points=60, out=tmp_path / "audit")
    record = read_audit(tmp_path / "audit")
    assert record.skipped == done.record.skipped
    assert set(record.skipped) == {"EmpLB", "FaithUB"}
    assert all(us.load(tmp_path / "run").config.spec in why for why in record.skipped.values())  # type: ignore[union-attr]
    (summary,) = record.summary
    data = us.load_data("digits", "test").take(60)
    t, s = (us.load(place).module(data.inputs(slice(None))).double() for place in (teacher, tmp_path / "run"))
    assert summary.eps == 0
    assert summary.agreement == pytest.approx(float((t.argmax(1) == s.argmax(1)).double().mean()))
    assert summary.accuracy_student == pytest.approx(float((s.argmax(1) == data.labels).double().mean()))
    kl = (t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1))).sum(1).mean().detach()
    assert summary.kl == pytest.approx(float(kl), abs=1e-4)
    assert summary.upper_mean is None
    assert record.calibration.ece_student is not None
    assert record.calibration.relative_ece > 0
    page = (tmp_path / "audit" / "report.html").read_text()
    assert "Skipped: EmpLB: the attack climbs gradients, and the student is tree[" in page


def test_either_side_may_be_the_tree_and_networks_skip_nothing(teacher: Path, student: Path) -> None:
    grown = tree(teacher).student
    for pair in ((grown, teacher), (grown, grown)):
        record = us.audit(*pair, "digits", points=5).record
        assert "the teacher is tree[" in record.skipped["FaithUB"]
    assert us.audit(grown, grown, "digits", points=5).summary[0].kl == 0
    asked = us.audit(teacher, grown, "digits", points=5, eps=[0.05], certify="ibp").record
    assert [row.eps for row in asked.summary] == [0.0]
    plain = us.audit(teacher, student, "digits", points=3, eps=[0.02], certify="ibp").record
    assert plain.skipped == {}
    assert [row.eps for row in plain.summary] == [0.0, 0.02]


def test_a_set_without_a_customary_radius_can_be_audited(teacher: Path) -> None:
    data = us.load_data("digits", "test")
    own = (data.inputs(slice(0, 20)), None)
    grown = tree(teacher).student
    assert us.audit(teacher, grown, own, valid_range=(0.0, 1.0)).summary[0].eps == 0
    with pytest.raises(InputError, match="no customary radius"):
        us.audit(teacher, teacher, own, valid_range=(0.0, 1.0))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"fail_above": 0.5}, "fail_above is a gate over FaithUB, which is skipped"),
        ({"certify": "alpha", "certificates": True, "out": "audit"}, "certificates prove bounds on networks"),
    ],
)
def test_what_cannot_be_judged(teacher: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    if "out" in more:
        more = {**more, "out": tmp_path / "audit"}
    with pytest.raises(InputError, match=said):
        us.audit(teacher, tree(teacher).student, "digits", points=3, **more)
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"epochs": 3, "lr": 0.1}, "trains no network: leave out epochs, lr"),
        ({"eps": 0.1}, "leave out eps"),
        ({"options": {"dept": "5"}}, "depth"),
        ({"options": {"temperature": "0"}}, "temperature"),
        ({"taps": {"a": ("0", "0")}}, "taps"),
        ({"teacher": None}, "needs a teacher"),
        ({"student": "mlp[4]"}, "leave out model"),
        ({"method": "distill_and_compare", "options": {}}, "found 10 classes"),
        ({"method": "distill_and_compare", "options": {}, "teacher": None}, "found 10 classes"),
    ],
)
def test_bad_input_writes_nothing(teacher: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    given = {"teacher": teacher, "student": None, "method": "decision_tree_kd", "options": TREE, **more}
    with pytest.raises(InputError, match=said):
        us.distill(given.pop("teacher"), given.pop("student"), "digits", out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_tree_can_teach_and_is_left_as_it_was(teacher: Path) -> None:
    grown = tree(teacher).student
    before = {name: value.clone() for name, value in grown.state_dict().items()}
    run = us.distill(grown, "mlp[8]", "digits", method="kd", epochs=40, examples=400)
    assert run.curves[-1]["agreement"] > 0.4
    assert all(torch.equal(value, before[name]) for name, value in grown.state_dict().items())
    assert not any(parameter.requires_grad for parameter in grown.parameters())


def test_a_method_needs_a_student(teacher: Path) -> None:
    with pytest.raises(InputError, match="needs a model"):
        us.distill(teacher, None, "digits", method="kd", epochs=1)
    with pytest.raises(InputError, match="tree"):
        us.distill(teacher, "tree[5]", "digits", method="kd", epochs=1)


@pytest.mark.data
def test_compas_from_the_teacher_to_the_audit(data_root: Path, tmp_path: Path) -> None:
    where: dict[str, Any] = {"data_root": data_root}
    us.train("compas", "mlp[8]", epochs=3, lr=5e-3, out=tmp_path / "teacher", **where)
    for method, options in (("decision_tree_kd", TREE), ("distill_and_compare", QUICK)):
        place = tmp_path / method
        run = us.distill(
            tmp_path / "teacher", None, "compas", method=method, options=options, out=place, **where
        )
        assert run.curves[0]["agreement"] > 0.8
        record = us.audit(tmp_path / "teacher", place, "compas", points=200, **where).record
        assert record.summary[0].agreement > 0.8
        assert record.summary[0].kl < 0.05
        assert set(record.skipped) == {"EmpLB", "FaithUB"}


def test_data_without_classes_has_nothing_to_fit(teacher: Path) -> None:
    bare = DataSet("bare", "train", torch.rand(20, 1, 8, 8))
    with pytest.raises(InputError, match="how many classes"):
        us.distill(None, None, bare, method="distill_and_compare")
    assert isinstance(tree(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), bare).student, Tree)


def test_a_comparison_takes_a_tree(teacher: Path, tmp_path: Path) -> None:
    """Its settings of training are the others'; what is skipped has no row."""
    found = us.compare(
        teacher, "mlp[4]", "digits", methods=["decision_tree_kd"], seeds=[0], points=4, certify="none",
        eps=[0.05], out=tmp_path / "compare", epochs=1, examples=100,
    )  # fmt: skip
    metrics = {row["metric"] for row in found.rows if row["method"] == "decision_tree_kd"}
    assert {"agreement@0", "kl@0", "relative_ece"} <= metrics
    assert "lower_mean@0.05" not in metrics
