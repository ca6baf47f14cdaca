"""Recipes: several trainings in a row. One visible table from name to class, loaded when a name is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from understudy.errors import unknown
from understudy.methods import from_text, method_class
from understudy.recipes.base import Recipe

RECIPES: dict[str, str] = {
    "teacher_assistant": "understudy.recipes.teacher_assistant:TeacherAssistant",
    "born_again": "understudy.recipes.born_again:BornAgain",
}


def recipe_class(name: str) -> type[Recipe]:
    """The class of a recipe.

    Raises:
        InputError: no such recipe; lists the nearest names.
    """
    target = RECIPES.get(name)
    if target is None:
        raise unknown("recipe", name, RECIPES)
    module, attribute = target.split(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    return found


def kind_of(name: str) -> type[Any]:
    """The class of a method or recipe.

    Raises:
        InputError: neither has this name.
    """
    return recipe_class(name) if name in RECIPES else method_class(name)


def make_recipe(name: str, options: Mapping[str, str] | None = None) -> Recipe:
    """A recipe by name, with fields set from text as `--set field=value` gives it.

    Raises:
        InputError: no such recipe or field, or a value of the wrong type or out of range.
    """
    made: Recipe = from_text(recipe_class(name), name, options)
    return made
