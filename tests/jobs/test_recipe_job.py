"""Recipes run: folders, who teaches whom, resuming, and that nothing is left behind by bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import understudy as us
from understudy.errors import InputError
from understudy.jobs import recipe_job
from understudy.jobs.training_job import TrainingRequest, saved_request
from understudy.recipes.born_again import BornAgain

SETTINGS: dict[str, Any] = {"epochs": 2, "examples": 200, "lr": 5e-3}
CHAIN = {"assistants": "mlp[8]"}


def run(teacher: Path, name: str, options: dict[str, str], model: Any = "mlp[4]", **more: Any) -> us.Run:
    return us.distill(teacher, model, "digits", method=name, options=options, **(SETTINGS | more))


class Twice(BornAgain):
    """A user's own recipe."""


def weights(place: Path) -> dict[str, torch.Tensor]:
    return us.load(place).module.state_dict()


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_the_folder_holds_every_stage_and_opens_as_the_last(teacher: Path, tmp_path: Path) -> None:
    found = run(teacher, "teacher_assistant", CHAIN, out=tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run" / "stages").iterdir()) == ["assistant-1", "student"]
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "run" / "stages" / "student"))
    assert [row["stage"] for row in found.curves] == ["assistant-1"] * 2 + ["student"] * 2
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found.curves
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [s["teacher"] for s in content["stages"]] == ["teacher", "assistant-1"]
    taught = json.loads((tmp_path / "run" / "stages" / "student" / "config.json").read_text())["teacher"]
    assert taught["sha256"] == us.load(tmp_path / "run" / "stages" / "assistant-1").sha256


def test_the_student_learns_from_the_assistant_and_nobody_else(teacher: Path, tmp_path: Path) -> None:
    run(teacher, "teacher_assistant", CHAIN, out=tmp_path / "run")
    options = {"temperature": "5", "alpha": "0.9"}
    by_hand = us.distill(
        tmp_path / "run" / "stages" / "assistant-1",
        "mlp[4]",
        "digits",
        method="kd",
        options=options,
        **SETTINGS,
    )
    assert_same(by_hand.student.state_dict(), weights(tmp_path / "run"))


def test_no_assistant_is_plain_distillation_bit_for_bit(teacher: Path) -> None:
    recipe = run(teacher, "teacher_assistant", {})
    plain = run(teacher, "kd", {"temperature": "5", "alpha": "0.9"})
    assert_same(recipe.student.state_dict(), plain.student.state_dict())


def test_data_without_labels_have_the_teachers_classes() -> None:
    student = us.distill(
        torch.nn.Linear(5, 4), "mlp[3]", (torch.rand(20, 5), None), method="born_again", epochs=1
    )
    assert student.student(torch.rand(2, 5)).shape == (2, 4)


def test_without_a_folder_it_is_the_same(teacher: Path, tmp_path: Path) -> None:
    kept = run(teacher, "born_again", {"generations": "2"}, out=tmp_path / "run")
    loose = run(teacher, "born_again", {"generations": "2"})
    assert loose.folder is None
    assert_same(kept.student.state_dict(), loose.student.state_dict())


def test_generations_differ_in_their_first_weights(teacher: Path, tmp_path: Path) -> None:
    run(teacher, "born_again", {"generations": "2"}, out=tmp_path / "run", lr=1e-12)
    first, second = (weights(tmp_path / "run" / "stages" / f"generation-{k}") for k in (1, 2))
    name = next(n for n, value in first.items() if value.dim() == 2)
    assert (first[name] - second[name]).abs().max() > 0.01


def test_resuming_goes_on_after_the_finished_stages(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(teacher, "teacher_assistant", CHAIN)
    trained: list[str] = []
    real = recipe_job.run_training

    def stopped(request: Any, **more: Any) -> Any:
        trained.append(request.model)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(request, **more)

    monkeypatch.setattr(recipe_job, "run_training", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(teacher, "teacher_assistant", CHAIN, out=tmp_path / "run")
    assert trained == ["mlp[8]", "mlp[4]"]
    assert not (tmp_path / "run" / "model.safetensors").exists()
    before = (tmp_path / "run" / "stages" / "assistant-1" / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(recipe_job, "run_training", real)
    found = run(teacher, "teacher_assistant", CHAIN, resume=tmp_path / "run")
    assert_same(found.student.state_dict(), whole.student.state_dict())
    assert (tmp_path / "run" / "stages" / "assistant-1" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"stages\.0\.model: mlp\[8\], now mlp\[9\]"):
        run(teacher, "teacher_assistant", {"assistants": "mlp[9]"}, resume=tmp_path / "run")
    with pytest.raises(InputError, match="a single training"):
        run(teacher, "teacher_assistant", CHAIN, resume=tmp_path / "run" / "stages" / "student")


@pytest.mark.parametrize(
    ("options", "model", "more", "said"),
    [
        ({"assistants": "mpl[8]"}, "mlp[4]", {}, "mlp"),
        (CHAIN, nn.Linear(64, 10), {}, "name an architecture"),
        (CHAIN, "mlp[4]", {"taps": {"a": ("0", "0")}}, "reads no features"),
        ({"assistants": "mlp[8]", "alpha": "2"}, "mlp[4]", {}, "alpha"),
    ],
)
def test_bad_input_writes_nothing(
    teacher: Path, tmp_path: Path, options: dict[str, str], model: Any, more: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(teacher, "teacher_assistant", options, model, out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_a_recipe_may_be_an_object_or_a_users_own(teacher: Path) -> None:
    by_name = run(teacher, "born_again", {"generations": "1"}, epochs=1)
    made = us.distill(
        teacher, "mlp[4]", "digits", method=BornAgain(generations=1), **SETTINGS | {"epochs": 1}
    )
    own = run(teacher, f"{__name__}:Twice", {"generations": "1"}, epochs=1)
    for found in (made, own):
        assert_same(by_name.student.state_dict(), found.student.state_dict())
    with pytest.raises(InputError, match="an object"):
        us.distill(teacher, "mlp[4]", "digits", method=BornAgain(), options={"generations": "1"})
    with pytest.raises(InputError, match=r"not a subclass of understudy\.Method"):
        run(teacher, f"{__name__}:run", {})


def test_a_recipe_needs_a_teacher() -> None:
    request = TrainingRequest(command="distill", data="digits", model="mlp[4]", method="born_again")
    with pytest.raises(InputError, match="needs a teacher"):
        recipe_job.run_distillation(request)


def test_a_stages_folder_is_resumed_by_its_recipe(teacher: Path, tmp_path: Path) -> None:
    run(teacher, "born_again", {"generations": "1"}, out=tmp_path / "run", epochs=1)
    stage = tmp_path / "run" / "stages" / "generation-1"
    request = TrainingRequest(**saved_request(stage))
    with pytest.raises(InputError, match="resume it from the recipe's folder"):
        recipe_job.run_distillation(request, resume=stage)


def test_a_name_that_is_nobodys_shows_the_nearest_recipe_too(teacher: Path) -> None:
    with pytest.raises(InputError, match=r"unknown method 'born_agian': did you mean born_again"):
        run(teacher, "born_agian", {})


def test_a_comparison_takes_a_recipe(teacher: Path, tmp_path: Path) -> None:
    found = us.compare(
        teacher, "mlp[4]", "digits", methods=["born_again"], seeds=[0], points=4, certify="none",
        eps=[0.05], out=tmp_path / "compare", epochs=1, examples=100,
    )  # fmt: skip
    assert {row["method"] for row in found.rows} >= {"born_again", "ce"}
    assert (tmp_path / "compare" / "born_again" / "0" / "stages" / "generation-3").is_dir()
