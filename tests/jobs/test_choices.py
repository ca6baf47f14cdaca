"""A recipe that chooses: what it keeps, that it takes it up again, and that nothing is left by bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import understudy as us
from understudy.data.resolve import load_data
from understudy.errors import InputError
from understudy.jobs import recipe_job
from understudy.jobs.choices import read_choice
from understudy.methods.robust.ce import CE
from understudy.recipes.base import Recipe, Stage
from understudy.recipes.choice import Choice, Chosen, Known

SETTINGS: dict[str, Any] = {"epochs": 2, "examples": 150, "lr": 5e-3, "device": "cpu"}
OPTIONS = {"rounds": "2", "query": "6"}


def run(teacher: Any, options: dict[str, str] | None = None, data: Any = "digits", **more: Any) -> us.Run:
    options = OPTIONS if options is None else options
    settings = SETTINGS | more
    return us.distill(teacher, "mlp[6]", data, method="pcoreset_activekd", options=options, **settings)


def choice(place: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "choices" / f"round-{number}.json").read_text())
    return found


def assert_same(one: us.Run, two: us.Run) -> None:
    for name, value in one.student.state_dict().items():
        assert torch.equal(value, two.student.state_dict()[name]), name


def test_what_the_folder_holds(teacher: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    found = run(teacher, out=place)
    rounds = ["round-0", "round-1", "round-2"]
    assert sorted(p.stem for p in (place / "choices").iterdir()) == rounds
    assert sorted(p.name for p in (place / "stages").iterdir()) == rounds
    labelled = [choice(place, k)["labelled"] for k in range(3)]
    assert [len(rows) for rows in labelled] == [10, 16, 22]
    assert labelled[2][:16] == labelled[1]
    assert labelled[1][:10] == labelled[0]
    seen = json.loads((place / "stages" / "round-1" / "config.json").read_text())["data"]["examples"]
    assert seen == 2 * (150 - 16)  # the labelled as often as the others
    stages = json.loads((place / "config.json").read_text())["stages"]
    assert stages[1]["choice"] == {
        "class": "understudy.recipes.pcoreset_activekd:Ask",
        "number": 1, "after": "round-0", "strategy": "pcoreset", "query": 6,
    }  # fmt: skip
    kept = us.load(place).module.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in found.student.state_dict().items())


def test_without_a_folder_it_is_the_same(teacher: Path, tmp_path: Path) -> None:
    assert_same(run(teacher, out=tmp_path / "run"), run(teacher))


def test_resuming_takes_the_choices_up_again(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, place = run(teacher, out=tmp_path / "whole"), tmp_path / "run"
    real, trained = recipe_job.run_training, []

    def stopped(request: Any, **more: Any) -> Any:
        trained.append(request)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(request, **more)

    monkeypatch.setattr(recipe_job, "run_training", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(teacher, out=place)
    monkeypatch.setattr(recipe_job, "run_training", real)
    assert choice(place, 2) == choice(tmp_path / "whole", 2)
    asked: list[str] = []
    ask = Known.logits

    def noted(self: Known, name: str) -> torch.Tensor:
        asked.append(name)
        return ask(self, name)

    monkeypatch.setattr(Known, "logits", noted)
    assert_same(run(teacher, resume=place), whole)
    assert asked == []  # each choice was there
    (place / "choices" / "round-2.json").unlink()
    assert_same(run(teacher, resume=place), whole)
    assert asked == ["round-1"]
    assert choice(place, 2) == choice(tmp_path / "whole", 2)


def test_a_choice_that_was_changed_or_damaged_is_not_passed_over(teacher: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    run(teacher, out=place)
    file = place / "choices" / "round-1.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps(before | {"labelled": before["labelled"][:-1]}))
    with pytest.raises(InputError, match="started with another data"):
        run(teacher, resume=place)
    file.write_text("{")
    with pytest.raises(InputError, match=r"round-1\.json does not hold a stage's choice"):
        run(teacher, resume=place)
    with pytest.raises(InputError, match="does not hold"):
        read_choice(place / "none.json")


def test_another_way_of_asking_is_another_run(teacher: Path, tmp_path: Path) -> None:
    run(teacher, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"stages\.1\.choice\.strategy: pcoreset, now random"):
        run(teacher, OPTIONS | {"strategy": "random"}, resume=tmp_path / "run")


def test_tensors_have_the_teachers_classes(tmp_path: Path) -> None:
    x, y = torch.rand(60, 5), torch.arange(60) % 3
    teacher = torch.nn.Linear(5, 4)
    found = run(teacher, {"rounds": "1"}, (x, y), out=tmp_path / "run", examples=40)
    assert found.student(x).shape == (60, 4)
    assert len(choice(tmp_path / "run", 1)["notes"]["asked"]) == 4
    assert len(choice(tmp_path / "run", 0)["labelled"]) == 3  # nobody has the fourth


@pytest.mark.parametrize(
    ("data", "options", "more", "said"),
    [
        ("digits", {"absent": "10"}, {}, "absent must leave one"),
        ((torch.rand(9, 64), None), {}, {"examples": 8}, "no labels"),
        ("digits", {}, {"labelled": 20}, "leave out `labelled`"),
        ("digits", {}, {"device": "gpu"}, "device must be"),
    ],
)
def test_bad_input_writes_nothing(
    teacher: Path, tmp_path: Path, data: Any, options: dict[str, str], more: Any, said: str
) -> None:
    given = teacher if data == "digits" else torch.nn.Linear(64, 10)
    with pytest.raises(InputError, match=said):
        run(given, options, data, out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_a_first_training_that_is_refused_leaves_nothing(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="augment must be one of"):
        run(teacher, out=tmp_path / "run", augment="turn")
    assert not (tmp_path / "run").exists()


@dataclass(frozen=True)
class Sure(Choice):
    """The examples that the teacher is surest of, and no others, labelled all."""

    count: int

    def choose(self, known: Known) -> Chosen:
        sure = known.logits("teacher").softmax(1).amax(1)
        return Chosen(rows=tuple(sure.argsort(descending=True)[: self.count].tolist()))


@dataclass(frozen=True, kw_only=True)
class Easy(Recipe):
    """A user's own recipe: first the easy ones, then all."""

    def stages(self, student: str) -> Sequence[Stage]:
        return [Stage("easy", student, CE(), choice=Sure(25)), Stage("all", student, CE())]


def test_a_recipe_of_ones_own_chooses_by_what_the_teacher_says(teacher: Path, tmp_path: Path) -> None:
    us.distill(teacher, "mlp[6]", "digits", method=f"{__name__}:Easy", out=tmp_path / "run", **SETTINGS)
    rows = read_choice(tmp_path / "run" / "choices" / "easy.json").rows
    assert rows is not None
    assert not (tmp_path / "run" / "choices" / "all.json").exists()
    data = load_data("digits").take(150)
    sure = us.load(teacher).module(data.inputs(slice(None))).softmax(1).amax(1)
    assert set(rows) == set(sure.topk(25).indices.tolist())
    sizes = [
        json.loads((tmp_path / "run" / "stages" / name / "config.json").read_text())["data"]["examples"]
        for name in ("easy", "all")
    ]
    assert sizes == [25, 150]
