"""Training from stored answers: the same as from a live teacher, who is then not asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import understudy as us
from understudy.cli.main import run
from understudy.errors import InputError
from understudy.methods import make_method

SETTINGS = {"epochs": 2, "examples": 200, "batch_size": 64, "device": "cpu", "lr": 0.01}


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return us.train("digits", "mlp[16]", epochs=2, examples=200, lr=0.01).student


def distilled(teacher: nn.Module, method: object, **more: object) -> us.Run:
    return us.distill(teacher, "mlp[8]", "digits", method=method, **{**SETTINGS, **more})


def apart(one: us.Run, other: us.Run) -> float:
    pairs = zip(one.student.parameters(), other.student.parameters(), strict=True)
    return max((a - b).detach().abs().max().item() for a, b in pairs)


def test_sampled_answers_train_as_a_live_teacher_does(teacher: nn.Module, tmp_path: Path) -> None:
    live = distilled(teacher, "sparse_logit_sampling")
    stored = distilled(teacher, "sparse_logit_sampling", stored=tmp_path / "kept")
    again = distilled(teacher, "sparse_logit_sampling", stored=tmp_path / "kept")
    assert apart(live, stored) < 1e-6
    assert apart(stored, again) == 0


def test_dense_answers_are_as_good_as_half_precision(teacher: nn.Module, tmp_path: Path) -> None:
    live, stored = distilled(teacher, "kd"), distilled(teacher, "kd", stored=tmp_path / "kept")
    assert 0 < apart(live, stored) < 0.02
    assert stored.curves[-1]["loss"] == pytest.approx(live.curves[-1]["loss"], rel=0.01)


def test_the_teacher_is_asked_once(teacher: nn.Module, tmp_path: Path) -> None:
    asked: list[int] = []
    handle = teacher.register_forward_hook(lambda _m, inputs, _o: asked.append(len(inputs[0])))
    try:
        distilled(teacher, "kd", stored=tmp_path / "kept")
        first = sum(asked)
        asked.clear()
        distilled(teacher, "kd", stored=tmp_path / "kept", epochs=6)
    finally:
        handle.remove()
    assert first >= 200
    assert (
        sum(asked) < 200 + 20
    )  # the monitor's look at the training data, and one example to see the classes


def test_an_augmentation_is_replayed_and_several_views_take_turns(teacher: nn.Module, tmp_path: Path) -> None:
    one = distilled(teacher, "kd", augment="shift", stored=tmp_path / "one")
    two = distilled(teacher, "kd", augment="shift", stored=tmp_path / "two", stored_views=2)
    assert one.curves[0]["loss"] == two.curves[0]["loss"]
    assert one.curves[1]["loss"] != two.curves[1]["loss"]


def test_answers_of_somebody_else_are_refused(teacher: nn.Module, tmp_path: Path) -> None:
    distilled(teacher, "kd", stored=tmp_path / "kept")
    other = us.train("digits", "mlp[16]", epochs=1, examples=200, seed=9).student
    for given, more in ((other, {}), (teacher, {"examples": 100}), (teacher, {"augment": "shift"})):
        with pytest.raises(InputError, match=r"belong|other"):
            distilled(given, "kd", stored=tmp_path / "kept", **more)
    with pytest.raises(InputError):
        distilled(teacher, "sparse_logit_sampling", stored=tmp_path / "kept")


def test_what_a_store_cannot_serve_is_refused_before_anything_is_written(
    teacher: nn.Module, tmp_path: Path
) -> None:
    for method, message in (
        ("fd", "more than the data"),
        ("rkd", "wants features"),
        ("ce", "asks the teacher"),
    ):
        with pytest.raises(InputError, match=message):
            distilled(teacher, method, stored=tmp_path / method)
    with pytest.raises(InputError, match="one view to store"):
        distilled(teacher, "kd", stored=tmp_path / "views", stored_views=3)
    both = us.SoftTargets() + make_method("sparse_logit_sampling")
    with pytest.raises(InputError, match="kept in different ways"):
        distilled(teacher, both, stored=tmp_path / "both")


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    us.train("digits", "mlp[16]", epochs=1, examples=200, out="t")
    line = "distill --teacher t --model mlp[8] --data digits --method sparse_logit_sampling --epochs 1 --examples 200"
    for out in ("a", "b"):
        assert run([*line.split(), "--stored", "kept", "--out", out, "--quiet"]) == 0
    first, second = (us.load(name, data="digits").module.state_dict() for name in ("a", "b"))
    assert all(torch.equal(first[name], value) for name, value in second.items())


def test_a_run_is_resumed_as_it_was_started(teacher: nn.Module, tmp_path: Path) -> None:
    distilled(teacher, "kd", out=tmp_path / "run", augment="shift")
    with pytest.raises(InputError, match="was started with a teacher that is asked"):
        distilled(teacher, "kd", resume=tmp_path / "run", augment="shift", stored=tmp_path / "kept")


def test_answers_serve_any_labels(teacher: nn.Module, tmp_path: Path) -> None:
    distilled(teacher, "kd", stored=tmp_path / "kept")
    assert distilled(teacher, "wakd", stored=tmp_path / "kept", labelled=50).curves


def test_a_recipe_and_a_method_that_cannot_be_stored_write_nothing(
    teacher: nn.Module, tmp_path: Path
) -> None:
    for method, message in (("bd_kd", "the teacher to learn"), ("born_again", "several teachers")):
        with pytest.raises(InputError, match=message):
            distilled(teacher, method, stored=tmp_path / "kept", out=tmp_path / "run")
        assert not list(tmp_path.iterdir())
