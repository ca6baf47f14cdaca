"""Which methods a comparison trains: names, families or all; its baselines; what has to be left out, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.errors import InputError, unknown
from understudy.jobs.recipe_job import run_distillation
from understudy.jobs.training_job import TrainingRequest
from understudy.methods import ALIASES, CATALOGUE
from understudy.recipes import RECIPES, kind_of
from understudy.training.method import AdversarialMethod

ALL, FAMILY_OF_RECIPES = "all", "recipes"
PLAIN = "kd"  # plain distillation: what every other method is held against
UNDISTILLED, ATTACKED = "ce", "at"
ALWAYS = (PLAIN, UNDISTILLED, "label_smoothing")


@dataclass(frozen=True)
class Chosen:
    """The methods of a comparison.

    Attributes:
        asked: those that were asked for, in their order; of families and `all` those that run here.
        names: the same, then the baselines that are not among them.
        left_out: method -> why it does not run here with its defaults.
    """

    asked: list[str]
    names: list[str]
    left_out: dict[str, str]


def families() -> dict[str, list[str]]:
    """Family -> its methods: the folder below `understudy.methods` that each lies in; all recipes are one more."""
    found: dict[str, list[str]] = {}
    for name, target in CATALOGUE.items():
        found.setdefault(target.split(":")[0].split(".")[2], []).append(name)
    return {**found, FAMILY_OF_RECIPES: list(RECIPES)}


def expanded(methods: Sequence[str]) -> tuple[list[str], set[str]]:
    """(names, those of them that only a family or `all` brought), each method once.

    Raises:
        InputError: none is named, one is named twice, or a name is neither method, recipe nor family.
    """
    if not methods:
        raise InputError("name at least one method to compare")
    groups = {ALL: [*CATALOGUE, *RECIPES], **families()}
    single = [name for name in methods if name in CATALOGUE or name in ALIASES or name not in groups]
    for name in single:
        if ":" not in name and name not in {*CATALOGUE, *ALIASES, *RECIPES}:
            raise unknown("method or family", name, [*groups, *CATALOGUE, *ALIASES, *RECIPES])
    kinds = [kind_of(name) for name in single]
    if len(set(kinds)) != len(kinds):
        raise InputError(f"each method once, found {', '.join(single)}")
    names: list[str] = []
    for name in methods:
        drawn = [name] if name in single else [m for m in groups[name] if kind_of(m) not in kinds]
        names += [m for m in drawn if m not in names]
    return names, {name for name in names if name not in single}


def with_baselines(names: Sequence[str]) -> list[str]:
    """The methods, then the baselines that are not among them.

    They are plain distillation, the undistilled student, label smoothing and, where a method attacks its inputs,
    the undistilled student that is adversarially trained.
    """
    kinds = [kind_of(name) for name in names]
    attacks = any(issubclass(kind, AdversarialMethod) for kind in kinds)
    wanted = (*ALWAYS, ATTACKED) if attacks else ALWAYS
    return [*names, *(b for b in wanted if kind_of(b) not in kinds)]


def named_as(kind_name: str, names: Sequence[str]) -> str:
    """What a comparison calls the method of the catalogue: `sd` if it was asked for by that name."""
    return next((name for name in names if kind_of(name) is kind_of(kind_name)), kind_name)


def reference_of(method: str) -> str:
    """What a method is held against: plain distillation, and that against the undistilled student."""
    return UNDISTILLED if kind_of(method) is kind_of(PLAIN) else PLAIN


def undistilled_of(method: str) -> str:
    """The undistilled student at equal budget: adversarially trained for methods that attack."""
    return ATTACKED if issubclass(kind_of(method), AdversarialMethod) else UNDISTILLED


def choose(
    request: TrainingRequest, methods: Sequence[str], known: Sequence[str] = (), **where: Any
) -> Chosen:
    """The methods that run on this pair with their defaults, each tried in one step of training.

    A method of a family that cannot be used is left out with its reason; one that was named is refused.

    Args:
        known: methods that are not tried, because they have run here before.

    Raises:
        InputError: as `expanded`; or a method that was named, or a baseline, cannot be used.
    """
    names, drawn = expanded(methods)
    left_out: dict[str, str] = {}
    for name in with_baselines(names):
        if name in known:
            continue
        try:
            _rehearse(dataclasses.replace(request, method=name), where)
        except InputError as error:
            if name not in drawn or name in (*ALWAYS, ATTACKED):
                raise
            left_out[name] = str(error)
        except Exception:  # a method that breaks is trained in earnest: its row says how
            continue
    asked = [name for name in names if name not in left_out]
    return Chosen(asked, with_baselines(asked), left_out)


def _rehearse(request: TrainingRequest, where: dict[str, Any]) -> None:
    """One step on one batch, nothing kept."""
    few = request.batch_size if request.examples is None else min(request.batch_size, request.examples)
    epochs = 1 if request.epochs is None else min(request.epochs, 1)
    run_distillation(dataclasses.replace(request, examples=few, epochs=epochs), **where)
