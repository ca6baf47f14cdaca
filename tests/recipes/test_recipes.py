"""Recipes as plans: which stages they name, in which order, taught by whom."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from understudy.errors import InputError
from understudy.methods import CATALOGUE
from understudy.methods.robust.kd import SD
from understudy.methods.self_distillation.cwtm import CWTM
from understudy.methods.self_distillation.dkpp import DKPP
from understudy.objectives.base import Sum
from understudy.recipes import RECIPES, kind_of, make_recipe, recipe_class
from understudy.recipes.base import GIVEN, Recipe, Stage, TextRecipe, check_stages
from understudy.recipes.estimator import EstimatorRecipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_stages_that_can_be_run_or_fits_its_student(name: str) -> None:
    recipe = make_recipe(name)
    assert name not in CATALOGUE
    assert kind_of(name) is recipe_class(name) is type(recipe)
    if isinstance(recipe, EstimatorRecipe | TextRecipe):
        return
    assert isinstance(recipe, Recipe)
    stages = recipe.stages("mlp[8]")
    check_stages(stages)
    assert stages[-1].model == "mlp[8]"


def test_a_chain_of_assistants_each_taught_by_the_one_before() -> None:
    stages = make_recipe("teacher_assistant", {"assistants": "mlp[64,64]; mlp[32]", "alpha": "1/2"}).stages(
        "mlp[4]"
    )
    assert [(s.name, s.model, s.teacher) for s in stages] == [
        ("assistant-1", "mlp[64,64]", GIVEN),
        ("assistant-2", "mlp[32]", "assistant-1"),
        ("student", "mlp[4]", "assistant-2"),
    ]
    assert all(s.objective == SD(temperature=5.0, alpha=0.5) for s in stages)
    assert len({s.reseed for s in stages}) == 1


def test_no_assistant_is_plain_distillation() -> None:
    (stage,) = make_recipe("teacher_assistant", {"assistants": " "}).stages("mlp[4]")
    assert (stage.model, stage.teacher, stage.reseed) == ("mlp[4]", GIVEN, 0)


def test_generations_start_from_weights_of_their_own() -> None:
    stages = make_recipe("born_again", {"generations": "3"}).stages("mlp[4]")
    assert [s.teacher for s in stages] == [GIVEN, "generation-1", "generation-2"]
    assert {s.model for s in stages} == {"mlp[4]"}
    assert [s.reseed for s in stages] == [0, 1, 2]


@pytest.mark.parametrize(("variant", "kind"), [("ban", SD), ("labels", Sum), ("cwtm", CWTM), ("dkpp", DKPP)])
def test_the_variants_objectives(variant: str, kind: type) -> None:
    (stage,) = make_recipe("born_again", {"generations": "1", "variant": variant}).stages("mlp[4]")
    assert type(stage.objective) is kind


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("teacher_assistant", {"assistants": "mlp[8];;mlp[4]"}, "separated by ';'"),
        ("teacher_assistant", {"temperature": "0"}, "temperature"),
        ("teacher_assistant", {"assistant": "mlp[8]"}, "assistants"),
        ("born_again", {"generations": "0"}, "generations must be 1 or more, found 0"),
        ("born_again", {"variant": "cwt"}, "cwtm"),
        ("born_agian", {}, "born_again"),
    ],
)
def test_bad_options(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_recipe(name, options)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([], "one stage at least"),
        ([Stage("a", "mlp", SD()), Stage("a", "mlp", SD())], "'a' again"),
        ([Stage(GIVEN, "mlp", SD())], "'teacher' again"),
        ([Stage("a", "mlp", SD(), "b"), Stage("b", "mlp", SD())], "taught by 'b', which is none of teacher"),
    ],
)
def test_stages_that_cannot_be_run(stages: Sequence[Stage], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_stages(stages)
