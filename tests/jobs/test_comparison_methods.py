"""Names, families and all; the baselines; what is left out and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.errors import InputError
from understudy.jobs import comparison_methods
from understudy.jobs.comparison_methods import (
    choose,
    expanded,
    families,
    named_as,
    reference_of,
    undistilled_of,
    with_baselines,
)
from understudy.jobs.training_job import TrainingRequest
from understudy.methods import CATALOGUE
from understudy.recipes import RECIPES


def test_families_are_the_folders() -> None:
    found = families()
    assert {"kd", "ard", "ce"} <= set(found["robust"])
    assert found["relations"] == ["rkd"]
    assert set(found["recipes"]) == set(RECIPES)
    assert sorted(name for methods in found.values() for name in methods) == sorted([*CATALOGUE, *RECIPES])


def test_names_are_drawn_from_families_once() -> None:
    assert expanded(["rkd", "fd"]) == (["rkd", "fd"], set())
    names, drawn = expanded(["fd", "robust", "relations"])
    assert names[0] == "fd"
    assert "faithful_kd" not in names  # it is there as fd
    assert drawn == {*families()["robust"], "rkd"} - {"faithful_kd"}
    names, drawn = expanded(["all"])
    assert names == [*CATALOGUE, *RECIPES]
    assert drawn == set(names)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ([], "name at least one method"),
        (["sd", "kd"], "each method once, found sd, kd"),
        (["robst"], "did you mean robust"),
        (["fdd"], "did you mean fd"),
    ],
)
def test_names_that_cannot_be(methods: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        expanded(methods)


def test_baselines_are_added_where_they_are_missing() -> None:
    assert with_baselines(["rkd"]) == ["rkd", "kd", "ce", "label_smoothing"]
    assert with_baselines(["sd", "fd"]) == ["sd", "fd", "ce", "label_smoothing", "at"]
    assert with_baselines(["pgd", "none"]) == [
        "pgd",
        "none",
        "kd",
        "label_smoothing",
    ]  # other names of at and ce


def test_references() -> None:
    assert {m: reference_of(m) for m in ("rkd", "fd", "ce", "at", "sd", "kd")} == {
        "rkd": "kd", "fd": "kd", "ce": "kd", "at": "kd", "sd": "ce", "kd": "ce",
    }  # fmt: skip
    assert named_as("kd", ["rkd", "sd", "ce"]) == "sd"
    assert named_as("kd", ["rkd"]) == "kd"
    assert [undistilled_of(m) for m in ("rkd", "ard", "trades")] == ["ce", "at", "at"]


def request(teacher: Path, **changes: object) -> TrainingRequest:
    given = {"data": "digits", "model": "mlp[6]", "teacher": teacher, "eps": 0.05, "examples": 60, **changes}
    return TrainingRequest(command="compare", **given)  # type: ignore[arg-type]


WHERE = {"data_root": None, "device": "cpu", "devices": 1}


def test_what_a_family_cannot_run_is_named_with_its_reason(teacher: Path) -> None:
    found = choose(request(teacher), ["features", "relations"], **WHERE)
    assert found.asked == ["rkd"]
    assert found.names == ["rkd", "kd", "ce", "label_smoothing"]
    assert "name their layers" in found.left_out["fitnets"]


def test_what_was_named_is_refused_if_it_cannot_run(teacher: Path) -> None:
    with pytest.raises(InputError, match="name their layers"):
        choose(request(teacher), ["fitnets", "relations"], **WHERE)
    with pytest.raises(InputError, match="lr must be"):  # nothing can run: no family is blamed for it
        choose(request(teacher, lr=-1.0), ["relations"], **WHERE)


def test_what_has_run_before_is_not_tried_again(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def note(given: TrainingRequest, **_: object) -> None:
        tried.append(str(given.method))
        assert given.epochs == 1
        assert given.examples == 60

    monkeypatch.setattr(comparison_methods, "run_distillation", note)
    choose(request(teacher), ["rkd"], ["rkd", "ce"], **WHERE)
    assert tried == ["kd", "label_smoothing"]


def test_a_method_that_breaks_is_kept_for_its_row(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(given: TrainingRequest, **_: object) -> None:
        if given.method == "rkd":
            raise RuntimeError("broken")

    monkeypatch.setattr(comparison_methods, "run_distillation", broken)
    assert choose(request(teacher), ["relations"], **WHERE).asked == ["rkd"]
