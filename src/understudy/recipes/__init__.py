"""Recipes: several trainings in a row, or one fit. A visible table from name to class, loaded when a name is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from understudy.errors import InputError, unknown
from understudy.methods import ALIASES, CATALOGUE, from_text, method_class
from understudy.models.modulepath import find_callable
from understudy.recipes.base import Recipe, TextRecipe
from understudy.recipes.estimator import EstimatorRecipe

AnyRecipe = Recipe | EstimatorRecipe | TextRecipe
RECIPES: dict[str, str] = {
    "teacher_assistant": "understudy.recipes.teacher_assistant:TeacherAssistant",
    "born_again": "understudy.recipes.born_again:BornAgain",
    "decision_tree_kd": "understudy.recipes.decision_tree:DecisionTree",
    "distill_and_compare": "understudy.recipes.distill_and_compare:DistillAndCompare",
    "pcoreset_activekd": "understudy.recipes.pcoreset_activekd:PCoreSetActiveKD",
    "lion": "understudy.recipes.lion:Lion",
}


def is_recipe(method: object) -> bool:
    """Whether it is a recipe, or the name of one: of the table, or of a user's own as `package.module:Class`.

    Raises:
        InputError: a name of the second form behind which there is nothing.
    """
    if not isinstance(method, str):
        return isinstance(method, AnyRecipe)
    return method in RECIPES or (":" in method and _is_kind(find_callable(method)))


def _is_kind(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, AnyRecipe)


def recipe_class(name: str) -> type[Recipe] | type[EstimatorRecipe] | type[TextRecipe]:
    """The class of a recipe of the table, or of a user's own given as `package.module:Class`.

    Raises:
        InputError: no such recipe; lists the nearest names.
    """
    if ":" in name:
        own: Any = find_callable(name)
        if not _is_kind(own):
            raise InputError(f"{name!r} is not a subclass of understudy.recipes.base.Recipe")
        return own
    target = RECIPES.get(name)
    if target is None:
        raise unknown("recipe", name, RECIPES)
    module, attribute = target.split(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    return found


def kind_of(name: str) -> type[Any]:
    """The class of a method or recipe.

    Raises:
        InputError: neither has this name; the nearest of both are given.
    """
    if ":" not in name and not any(name in known for known in (RECIPES, CATALOGUE, ALIASES)):
        raise unknown("method", name, [*CATALOGUE, *ALIASES, *RECIPES])
    return recipe_class(name) if is_recipe(name) else method_class(name)


def make_recipe(name: str | AnyRecipe, options: Mapping[str, str] | None = None) -> AnyRecipe:
    """A recipe by name, with fields set from text as `--set field=value` gives it, or one that is made already.

    Raises:
        InputError: no such recipe or field, or a value of the wrong type or out of range; options for one that
            is made already.
    """
    if not isinstance(name, str):
        if options:
            raise InputError("options set the fields of a recipe given by name; this one is an object")
        return name
    made: AnyRecipe = from_text(recipe_class(name), name, options)
    return made
