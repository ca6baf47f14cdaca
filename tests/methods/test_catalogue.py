"""Names, aliases and options: what `--method` and `--set` take, and what they answer to anything else."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import understudy as us
from understudy.methods import ALIASES, CATALOGUE, make_method, method_class, parse_value
from understudy.methods.robust.faithful_kd import FaithfulKD
from understudy.methods.robust.kd import SD


@pytest.mark.parametrize("name", [*CATALOGUE, *ALIASES])
def test_every_name_gives_a_method_with_the_papers_defaults(name: str) -> None:
    method = make_method(name)
    assert isinstance(method, us.Method)
    assert method == type(method)()


def test_the_shorter_names() -> None:
    assert method_class("sd") is method_class("kd") is SD
    assert method_class("fd") is method_class("faithful_kd") is FaithfulKD
    assert method_class("pgd") is method_class("at")
    assert set(ALIASES.values()) <= set(CATALOGUE)


def test_the_papers_defaults() -> None:
    ard, rslad, iad, adaad, fd = map(make_method, ("ard", "rslad", "iad", "adaad", "fd"))
    assert (ard.temperature, ard.alpha, ard.steps, ard.start, ard.eps) == (30.0, 1.0, 10, "uniform", None)
    assert (rslad.alpha, rslad.start) == (pytest.approx(5 / 6), "normal")
    assert (iad.temperature, iad.alpha, iad.beta, iad.warmup) == (1.0, 1.0, 0.1, 0.3)
    assert (adaad.alpha, adaad.start, fd.alpha, fd.hard_weight) == (1.0, "normal", 1.0, 0.0)
    assert {m.attack_mode for m in (ard, rslad, iad, adaad, fd)} == {"eval"}
    assert ard.with_radius(8 / 255).source(0.0, 1.0).ball.eps == 8 / 255


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_card_says_what_is_computed(name: str) -> None:
    import inspect
    import sys

    about = inspect.getdoc(sys.modules[method_class(name).__module__]) or ""
    assert "    " in about, "no formula"
    documented = "".join(inspect.getdoc(kind) or "" for kind in method_class(name).__mro__)
    for field in fields(method_class(name)):
        assert field.name in documented, f"{field.name} is not documented"


@pytest.mark.parametrize(
    ("name", "options", "field", "value"),
    [
        ("ard", {"eps": "8/255"}, "eps", 8 / 255),
        ("ard", {"eps": "none"}, "eps", None),
        ("ard", {"steps": "7"}, "steps", 7),
        ("ard", {"clip": "false"}, "clip", False),
        ("ard", {"clip": "True"}, "clip", True),
        ("ard", {"start": "center"}, "start", "center"),
        ("ard", {"norm": "l2"}, "norm", "l2"),
        ("ard", {"step_size": "1e-2"}, "step_size", 0.01),
        ("iad", {"form": "code"}, "form", "code"),
        ("rslad", {"alpha": ".5"}, "alpha", 0.5),
    ],
)
def test_options_are_read_as_their_type(
    name: str, options: dict[str, str], field: str, value: object
) -> None:
    found = getattr(make_method(name, options), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rslat", {}, "unknown method 'rslat': did you mean rslad"),
        ("ard", {"temprature": "3"}, "unknown option of ard 'temprature': did you mean temperature"),
        ("ard", {"start": "centre"}, "unknown ard.start 'centre': did you mean center"),
        ("ard", {"steps": "ten"}, "ard.steps must be a int, found 'ten'"),
        ("ard", {"steps": "-1"}, "steps must be >= 0 and restarts >= 1, found -1"),
        ("ard", {"restarts": "0"}, "restarts >= 1"),
        ("ard", {"step_size": "0"}, "step_size must be above 0"),
        ("ard", {"clip": "maybe"}, "ard.clip must be a bool, found 'maybe'"),
        ("ard", {"eps": "1/0"}, "must be a number or a fraction"),
        ("ard", {"eps": "nan"}, "must be a finite number"),
        ("ard", {"eps": "-0.1"}, "eps must be a finite number, 0 or more"),
        ("ard", {"temperature": "0"}, "temperature must be a finite number above 0, found 0.0"),
        ("kd", {"alpha": "1.5"}, "alpha must be from 0 to 1, found 1.5"),
        ("rslad", {"alpha": "-1"}, "alpha must be from 0 to 1, found -1.0"),
        ("iad", {"warmup": "60"}, "warmup must be from 0 to 1, found 60.0"),
        ("iad", {"beta": "-1"}, "beta must be a finite number of at least 0, found -1.0"),
        ("fd", {"hard_weight": "-1"}, "hard_weight must be"),
        ("trades", {"beta": "-6"}, "beta must be"),
        ("adaad", {"hard_weight": "1"}, "AdaAD has no label term"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        make_method(name, options)


def test_a_choice_is_checked_in_python_too() -> None:
    kind = method_class("iad")
    with pytest.raises((us.InputError, TypeError), match="form"):
        kind(form="other")


def test_a_type_that_text_cannot_give_is_refused() -> None:
    with pytest.raises(us.InputError, match="cannot be set from text"):
        parse_value("x.y", "1", tuple[int, ...])


OWN = """
from dataclasses import dataclass
import understudy as us

@dataclass(frozen=True, kw_only=True)
class Squared(us.Method):
    weight: float
    power: int = 2

    def terms(self, student, teacher, batch):
        return {"mse": self.weight * (student.logits.float() - teacher.logits.float()).abs().pow(self.power).mean(1)}

@dataclass(frozen=True)
class NoMethod:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_users_method_is_found_in_the_working_folder() -> None:
    method = make_method("my_own_methods:Squared", {"weight": "1/2"})
    assert type(method).__name__ == "Squared"
    assert (method.weight, method.power) == (0.5, 2)
    us.testing.check_method(method)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("my_own_methods:Squared", {}, "no default for weight"),
        ("my_own_methods:Squared", {"weight": "1", "powr": "3"}, "did you mean power"),
        ("my_own_methods:Sqared", {}, "did you mean Squared"),
        ("my_own_methods:NoMethod", {}, "is not a subclass of understudy.Method"),
        ("my_own_method:Squared", {}, "there is no module 'my_own_method'"),
    ],
)
def test_a_users_mistake_is_named(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        make_method(name, options)
