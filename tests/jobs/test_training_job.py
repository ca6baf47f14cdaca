from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.jobs.training_job import saved_request
from understudy.models.saved import read_config
from understudy.objectives.base import Sum


def net(seed: int = 0, width: int = 12) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 10)
    )


def small(teacher: Any, model: Any = "mlp[8]", data: Any = "digits", **more: Any) -> us.Run:
    chosen: dict[str, Any] = {"method": "sd", "epochs": 2, "examples": 150, "device": "cpu", **more}
    return us.distill(teacher, model, data, **chosen)


def nothing_at(place: Path) -> bool:
    return not place.exists()


# What a run folder holds -------------------------------------------------------------------------------------------


def test_a_run_folder_holds_four_things_and_opens_again(teacher: Path, tmp_path: Path) -> None:
    run = small(teacher, out=tmp_path / "run", method="fd", eps=0.05, seed=3)
    assert {p.name for p in run.folder.iterdir()} == {  # type: ignore[union-attr]
        "config.json",
        "model.safetensors",
        "metrics.jsonl",
        "checkpoint",
    }
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["command"] == "distill"
    assert config["request"]["method"] == "fd"
    assert config["method"]["class"] == "understudy.methods.robust.faithful_kd:FaithfulKD"
    assert config["method"]["eps"] == 0.05
    assert config["training"]["epochs"] == 2
    assert config["training"]["seed"] == 3
    assert config["teacher"]["sha256"] == us.load(teacher).sha256
    opened = us.load(tmp_path / "run")
    assert opened.curves == run.curves
    assert [row["epoch"] for row in run.curves] == [1, 2]
    x = us.load_data("digits", "test").inputs(slice(0, 20))
    assert torch.equal(opened.module(x), run.student(x))
    assert not run.student.training


def test_without_out_nothing_is_written(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert small(teacher).folder is None
    assert not list(tmp_path.iterdir())


def test_a_module_of_ones_own_is_trained_in_place(teacher: Path) -> None:
    model = net(4)
    before = copy.deepcopy(model.state_dict())
    parameters = list(model.parameters())
    run = small(teacher, model)
    assert run.student is model
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert not torch.equal(before["1.weight"], model.state_dict()["1.weight"])


def test_the_teachers_module_is_left_as_it_was_also_after_an_error(tmp_path: Path) -> None:
    teacher = net(1).train()
    teacher[3].eval()
    teacher[1].weight.requires_grad_(False)
    before = copy.deepcopy(teacher.state_dict())
    modes = [part.training for part in teacher.modules()]
    wanted = [p.requires_grad for p in teacher.parameters()]
    random = torch.get_rng_state()

    def held() -> None:
        assert [part.training for part in teacher.modules()] == modes
        assert [p.requires_grad for p in teacher.parameters()] == wanted
        assert not any(part._forward_hooks for part in teacher.modules())
        assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)

    small(teacher, method="fd", eps=0.05, out=tmp_path / "a")
    held()
    for bad in (
        {"method": "nonsense"},
        {"lr": 1e30, "optimizer": "sgd"},
        {"data": "nonsense"},
        {"out": tmp_path / "a"},
    ):
        with pytest.raises(InputError):
            small(teacher, **bad)
        held()


def test_weights_of_the_teacher_are_nowhere_in_the_run(tmp_path: Path) -> None:
    run = small(net(1, 333), out=tmp_path / "run")
    assert run.folder is not None
    shapes = [t.shape for f in run.folder.rglob("*.safetensors") for t in load_file(f).values()]
    assert shapes
    assert not any(333 in shape for shape in shapes)


def test_normalisation_of_a_student_from_outside_is_saved_with_it(teacher: Path, tmp_path: Path) -> None:
    run = small(teacher, net(1), student_normalize=".5:.25", out=tmp_path / "run")
    assert run.folder is not None
    config = read_config(run.folder / "model.safetensors")
    assert (config.mean, config.std) == ((0.5,), (0.25,))
    with pytest.raises(InputError, match="student_normalize is for a model from outside"):
        small(teacher, "mlp[8]", student_normalize=".5:.25")


class Wordy(nn.Module):
    """Returns more than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return self.inner(x.flatten(1)), "said"


def test_a_student_that_returns_more_than_logits_is_saved_under_its_own_names(
    teacher: Path, tmp_path: Path
) -> None:
    run = small(teacher, Wordy(), out=tmp_path / "run")
    assert run.folder is not None
    assert set(load_file(run.folder / "model.safetensors")) == {"inner.weight", "inner.bias"}


# Data of one's own -------------------------------------------------------------------------------------------------


def test_unlabelled_data_teach_what_the_teacher_says() -> None:
    x = torch.rand(60, 1, 8, 8)
    teacher = net(1).eval()
    run = small(teacher, "mlp[8]", (x, None), examples=None, epochs=3)
    assert run.student(x).shape == (60, 10)
    assert "train_accuracy" not in run.curves[-1]
    with pytest.raises(InputError, match="needs labels, and data set 'tensors' has none"):
        us.distill(teacher, "mlp[8]", (x, None), method="ard", eps=0.1, epochs=1)
    with pytest.raises(InputError, match="does not say how many classes it has"):
        us.train((x, None), "mlp[8]", epochs=1)
    with pytest.raises(InputError, match="has no customary radius: state eps"):
        us.distill(teacher, "mlp[8]", (x, None), method="fd", epochs=1)


def test_a_sum_of_objectives_takes_the_radius_too(teacher: Path) -> None:
    from understudy.methods.robust.faithful_kd import FaithfulKD

    objective = 0.5 * us.SoftTargets() + FaithfulKD(steps=2)
    assert isinstance(objective, Sum)
    run = small(teacher, method=objective, eps=0.05)
    assert set(run.curves[0]) >= {"loss_soft", "loss_attacked"}


@dataclass(frozen=True)
class Plain(us.Objective):
    table: Any = None

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        return {"square": (student.logits - teacher.logits).square().mean(1)}


class Loose(us.Objective):
    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        return {"square": (student.logits - teacher.logits).square().mean(1)}


def test_an_objective_of_ones_own_is_kept_in_the_configuration(teacher: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    first = small(teacher, method=Plain((1, 2)), out=place)
    again = small(teacher, method=Plain((1, 2)), resume=place)
    assert first.curves == again.curves
    with pytest.raises(InputError, match=r"another method\.table: \[1, 2\], now \[1, 3\]"):
        small(teacher, method=Plain((1, 3)), resume=place)
    small(teacher, method=Plain(torch.ones(3)), out=tmp_path / "odd")  # not JSON: named by its class
    with pytest.raises(InputError, match="Loose must be a dataclass"):
        small(teacher, method=Loose())


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "fid"}, r"unknown method 'fid': did you mean .*fd"),
        ({"model": "mpl[8]"}, r"did you mean mlp"),
        ({"data": "digit"}, r"digits"),
        ({"epoch": 3}, r"unknown training setting 'epoch': did you mean epochs"),
        ({"method": "fd", "options": {"step": "3"}}, r"unknown option of fd 'step': did you mean steps"),
        ({"method": us.SoftTargets(), "options": {"temperature": "3"}}, r"this one is an object already"),
        ({"eps": -0.1}, r"eps must be a finite number, 0 or more, found -0\.1"),
        ({"eps": float("nan")}, r"eps must be a finite number"),
        ({"eps": 1.5}, r"eps 1\.5 is larger than the whole input range \[0, 1\]"),
        ({"augment": "spin"}, r"augment must be one of none, shift, shift\+flip, found 'spin'"),
        ({"examples": 0}, r"at least one example"),
        ({"split": "valid"}, r"unknown split"),
        ({"precision": "16-mixed"}, r"unknown precision '16-mixed'"),
        ({"optimizer": "adan"}, r"unknown optimizer 'adan': did you mean adam"),
        ({"batch_size": 0}, r"batch_size must be 1 or more"),
        ({"batch_size": 1, "devices": 2}, r"2 devices need a batch of as many examples"),
        ({"epochs": 0}, r"epochs must be 1 or more"),
        ({"taps": {"mid": ("0", "99")}, "method": None}, r"unknown layer '99'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named_and_leaves_nothing(
    teacher: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    @dataclass(frozen=True)
    class Features(Plain):
        needs = us.Needs(features=("mid",))

    if "taps" in changes:
        changes = {**changes, "method": Features()}
    with pytest.raises(InputError, match=said):
        small(teacher, **{"out": tmp_path / "new" / "run", **changes})
    assert nothing_at(tmp_path / "new")


def test_shapes_and_classes_that_differ_are_both_shown(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for model, said in [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"\(2, 7\).*\(2, 10\)"),
        (nn.Linear(3, 10), r"takes 3 values.*\(1, 8, 8\)"),
    ]:
        with pytest.raises(InputError, match=said):
            small(teacher, model, out=out)
        with pytest.raises(InputError, match=said):
            small(model, "mlp[8]", out=out)
        assert nothing_at(out)


def test_other_precisions_are_refused(teacher: Path) -> None:
    with pytest.raises(
        InputError, match=r"training runs in float32, the teacher's 1\.weight is torch\.float64"
    ):
        small(net().double())
    with pytest.raises(InputError, match=r"the student's 1\.weight is torch\.bfloat16"):
        small(teacher, net().bfloat16())


def test_out_and_resume_exclude_one_another(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="either out"):
        small(teacher, out=tmp_path / "a", resume=tmp_path / "b")
    with pytest.raises(InputError, match="not a run that can be resumed"):
        small(teacher, resume=tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        small(teacher, out=tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="cannot be made"):
        small(teacher, out=tmp_path / "run" / "thesis.tex" / "below")


def test_a_training_that_diverges_at_once_leaves_a_state_to_look_at(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="diverged"):
        small(teacher, lr=1e30, optimizer="sgd", out=tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_from_the_start_leaves_nothing(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        with pytest.raises(InputError, match="No space left"):
            small(teacher, out=tmp_path / "a" / "run")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("understudy.training.checkpoint.save_file", _full)
        with pytest.raises(InputError, match="No space left"):
            small(teacher, out=tmp_path / "b" / "run")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_end_leaves_a_run_to_resume(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(*_: object) -> None:
        raise InputError("cannot write model.safetensors: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("understudy.models.saved.write_atomically", no_model)
        with pytest.raises(InputError, match="No space left"):
            small(teacher, out=tmp_path / "run")
    whole = small(teacher, out=tmp_path / "whole")
    again = small(teacher, resume=tmp_path / "run")
    assert [r["loss"] for r in whole.curves] == [r["loss"] for r in again.curves]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert files[0] == files[1]


# Resuming ----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_read_not_repeated(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small(teacher, net(4), out=tmp_path / "run")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("understudy.jobs.training_job.launch", never)
    model = net(9)
    again = small(teacher, model, resume=tmp_path / "run")
    assert again.student is model
    assert again.curves == first.curves
    assert again.seconds == first.seconds
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 3}, r"training\.epochs: 2, now 3"),
        ({"seed": 1}, r"training\.seed: 0, now 1"),
        ({"lr": 0.5}, r"training\.lr: 0\.\d+, now 0\.5"),
        ({"batch_size": 64}, r"training\.batch_size: 128, now 64"),
        ({"model": "mlp[9]"}, r"student\.spec: mlp\[8\], now mlp\[9\]"),
        ({"method": "rslad"}, r"method\.class: .*faithful_kd:FaithfulKD, now .*rslad:RSLAD"),
        ({"eps": 0.06}, r"method\.eps: 0\.05, now 0\.06"),
        ({"norm": "l2"}, r"method\.norm: linf, now l2"),
        ({"options": {"steps": "2"}}, r"method\.steps: \d+, now 2"),
        ({"examples": 100}, r"data\.examples: 150, now 100"),
        ({"augment": "shift"}, r"augment: none, now shift"),
        ({"teacher": "other"}, r"teacher\.sha256"),
    ],
)
def test_another_option_is_refused_by_name(
    teacher: Path, student: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    given = {"method": "fd", "eps": 0.05}
    small(teacher, out=tmp_path / "run", **given)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    who = student if changes.pop("teacher", None) else teacher
    with pytest.raises(InputError, match=named):
        small(who, **{**given, **changes}, resume=tmp_path / "run")
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}


def test_a_teacher_that_changed_is_refused_and_one_that_moved_is_not(teacher: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(teacher, tmp_path / "moved")
    small(teacher, out=tmp_path / "run")
    small(moved, resume=tmp_path / "run")
    us.train("digits", "mlp[24]", epochs=1, seed=5, out=tmp_path / "new")
    shutil.copy(tmp_path / "new" / "model.safetensors", moved / "model.safetensors")
    with pytest.raises(InputError, match=r"another teacher\.sha256"):
        small(moved, resume=tmp_path / "run")


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "config.json").write_text("{"),
        lambda run: (run / "config.json").write_text("[]"),
        lambda run: (run / "config.json").write_text("{}"),
        lambda run: (run / "config.json").write_text('{"request": 3}'),
    ],
)
def test_a_damaged_configuration_is_named(
    teacher: Path, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    small(teacher, out=tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(InputError):
        saved_request(tmp_path / "run")
    with pytest.raises(InputError):
        small(teacher, resume=tmp_path / "run")


def test_a_damaged_state_is_named(teacher: Path, tmp_path: Path) -> None:
    run = small(teacher, out=tmp_path / "run")
    assert run.folder is not None
    (run.folder / "model.safetensors").unlink()
    (tree,) = run.folder.glob("checkpoint/*/tensors.safetensors")
    tree.write_bytes(tree.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"checkpoint .*step-000000004 cannot be read"):
        small(teacher, resume=tmp_path / "run")
