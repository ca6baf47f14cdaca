"""A distillation by a method or by a recipe: one training, or several in a row, in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.jobs.choices import Choices
from understudy.jobs.estimator_job import run_estimator
from understudy.jobs.lion_job import run_lion
from understudy.jobs.opening import open_data, open_first
from understudy.jobs.training_job import Run, TrainingRequest, new_student, run_training
from understudy.models.saved import read_config, save_model
from understudy.objectives.base import describe
from understudy.recipes import is_recipe, kind_of, make_recipe
from understudy.recipes.base import GIVEN, Recipe, Stage, TextRecipe, check_stages
from understudy.recipes.choice import Choice
from understudy.recipes.estimator import EstimatorRecipe
from understudy.training.folder import RunFolder, differences, nothing_half, write_text
from understudy.training.player import Taps
from understudy.version import __version__

STAGES = "stages"  # folder of the stages' own run folders


def run_distillation(
    request: TrainingRequest,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    taps: Taps | None = None,
    **where: Any,
) -> Run:
    """`run_training`, or if the request's method is a recipe or names one, its stages or its fit.

    A recipe's folder holds each stage's run in stages/NAME, what was chosen for it, if anything was, in
    choices/NAME.json, and the last one's model, as a training's folder does.
    Its curves are those of all stages, each row with the stage's name.

    Raises:
        InputError: as `run_training` does; a recipe is given a module to train, or taps; a stage's architecture
            does not exist or fit. Nothing has been written then.
    """
    if isinstance(request.method, Mapping):
        raise InputError(
            "this run's method was not given by name: resume it from the recipe's folder of which it is a stage, "
            "or from Python with the objective that it was started with"
        )
    if isinstance(request.method, str):
        kind_of(request.method)  # refuses an unknown name
    if not is_recipe(request.method):
        return run_training(request, out=out, resume=resume, taps=taps, **where)
    recipe = make_recipe(request.method, request.options)
    if taps:
        raise InputError(f"recipe {request.method} reads no features: taps are for methods")
    if isinstance(recipe, EstimatorRecipe):
        return run_estimator(request, recipe, out=out, resume=resume, **where)
    if isinstance(recipe, TextRecipe):
        return run_lion(request, recipe, out=out, resume=resume, **where)
    if out is not None and resume is not None:
        raise InputError("give either out, for a new run, or resume, for one that exists")
    stages, data = _stages(request, recipe, where)
    content = _content(request, stages)
    folder = _folder(out, resume, content)
    with nullcontext() if folder is None else nothing_half(folder.path):
        if folder is not None and resume is None:
            folder = RunFolder.create(folder.path, content)
        runs = _run(request, stages, data, None if folder is None else folder.path, where)
    last = runs[-1]
    curves = [{**row, "stage": s.name} for s, run in zip(stages, runs, strict=True) for row in run.curves]
    if folder is not None:
        assert last.folder is not None
        write_text(folder.metrics_file, "".join(json.dumps(row) + "\n" for row in curves))
        final = RunFolder(last.folder).model_file
        save_model(folder.model_file, last.student, read_config(final))
    return Run(
        last.student, curves, None if folder is None else folder.path, sum(run.seconds for run in runs)
    )


def _stages(
    request: TrainingRequest, recipe: Recipe, where: dict[str, Any]
) -> tuple[Sequence[Stage], DataSet]:
    """The recipe's stages, every architecture built once to see that it can be, and all the data."""
    if isinstance(request.model, nn.Module):
        raise InputError(f"recipe {request.method} trains several networks: name an architecture to build")
    if request.teacher is None:
        raise InputError(f"recipe {request.method} needs a teacher")
    if request.stored is not None:
        raise InputError(f"recipe {request.method} has several teachers: `stored` keeps the answers of one")
    stages = recipe.stages(str(request.model))
    check_stages(stages)
    data = open_data(
        request.data,
        request.split,
        data_root=where.get("data_root"),
        valid_range=request.valid_range,
        quiet=where.get("quiet", True),
        text=True,
    )
    if data.classes is None:
        data = open_first(data, request.data, request.teacher, request.teacher_normalize)[1]
    for spec in {stage.model for stage in stages}:
        new_student(replace(request, model=spec), data, 0)
    if request.labelled is not None and any(stage.choice for stage in stages):
        raise InputError(
            f"recipe {request.method} chooses itself which labels are seen: leave out `labelled`"
        )
    return stages, data


def _content(request: TrainingRequest, stages: Sequence[Stage]) -> dict[str, Any]:
    named = [
        {
            "name": stage.name,
            "model": stage.model,
            "teacher": stage.teacher,
            "reseed": stage.reseed,
            "method": describe(stage.objective),
            **({} if stage.choice is None else {"choice": _described(stage.choice)}),
        }
        for stage in stages
    ]
    return {
        "schema": 1,
        "command": request.command,
        "understudy": __version__,
        "request": request.plain(),
        "stages": named,
    }


def _described(choice: Choice) -> dict[str, Any]:
    return {"class": f"{type(choice).__module__}:{type(choice).__qualname__}", **asdict(choice)}  # type: ignore[call-overload]


def _folder(out: str | Path | None, resume: str | Path | None, content: dict[str, Any]) -> RunFolder | None:
    """The recipe's folder; one that is resumed must have been started with the same stages."""
    if resume is None:
        return None if out is None else RunFolder(out)
    folder, before = RunFolder.resume(resume)
    if "stages" not in before:
        raise InputError(f"{folder.path} holds a single training, not the stages of a recipe")
    named = differences("stages", dict(enumerate(before["stages"])), dict(enumerate(content["stages"])))
    if named:
        raise InputError(f"{folder.path} was started with another {'; another '.join(named)}")
    return folder


def _run(
    request: TrainingRequest,
    stages: Sequence[Stage],
    data: DataSet,
    folder: Path | None,
    where: dict[str, Any],
) -> list[Run]:
    """Every stage trained, or read back where it is finished."""
    runs: list[Run] = []
    models: dict[str, Any] = {GIVEN: request.teacher}
    choices = _choices(request, stages, data, folder, where)
    for stage in stages:
        given = stage.teacher == GIVEN
        task = replace(
            request,
            model=stage.model,
            teacher=models[stage.teacher],
            method=stage.objective,
            options=None,
            seed=request.seed + stage.reseed,
            label_seed=request.seed,
            teacher_normalize=request.teacher_normalize if given else None,
        )
        place = None if folder is None else folder / STAGES / stage.name
        if choices is not None and stage.choice is not None:
            task = replace(task, data=choices.data_for(stage), examples=None, valid_range=None)
        started = place is not None and (place / "config.json").exists()
        with nullcontext() if choices is None else choices.kept_with(stage, place):
            run = run_training(
                task, out=None if started else place, resume=place if started else None, **where
            )
        if choices is not None:
            choices.models[stage.name] = run.student
        models[stage.name] = run.student if run.folder is None else run.folder
        runs.append(run)
    return runs


def _choices(
    request: TrainingRequest,
    stages: Sequence[Stage],
    data: DataSet,
    folder: Path | None,
    where: dict[str, Any],
) -> Choices | None:
    """The maker of the stages' choices, if they make any."""
    if all(stage.choice is None for stage in stages):
        return None
    if request.examples is not None:
        data = data.take(request.examples)
    teacher, data = open_first(data, request.data, request.teacher, request.teacher_normalize)
    models: dict[str, Any] = {GIVEN: teacher.module}
    return Choices(data, request.seed, where.get("device", "auto"), models, folder)
