"""A training from options to a run folder: a teacher (`train`) or a student (`distill`)."""

from __future__ import annotations

import functools
import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.attacks import Ball
from understudy.data.dataset import DataSet
from understudy.data.text import TokenSet
from understudy.errors import InputError
from understudy.jobs.defaults import default_epochs, default_lr, default_radius
from understudy.jobs.language import fit_to_data, language_method, open_text_teacher
from understudy.jobs.opening import open_data, open_first, open_for
from understudy.jobs.progress import Progress
from understudy.jobs.request import TrainingRequest, plain
from understudy.jobs.starting import trained_before
from understudy.jobs.stored import check_storable, replay_of, stored_answers
from understudy.jobs.together import check_together
from understudy.methods import make_method
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.gcn import bind
from understudy.models.hub import LogitsOnly
from understudy.models.modulepath import build, is_module_path
from understudy.models.opening import LoadedModel, parse_normalize
from understudy.models.saved import load_state, save_model
from understudy.objectives.base import Objective, Sum, describe
from understudy.sources import Augmented, Chain, Source
from understudy.training.folder import RunFolder, differences, nothing_half
from understudy.training.loop import Task, fit
from understudy.training.method import AdversarialMethod, Method
from understudy.training.player import Player, Taps
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings
from understudy.training.threads import threads_for
from understudy.version import __version__


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    Attributes:
        student: the trained module, in eval mode: inputs in the data's valid range -> logits.
        curves: one row an epoch, as in metrics.jsonl.
        folder: the run folder, or None if nothing was written.
        seconds: time of all epochs together.
    """

    student: nn.Module
    curves: list[dict[str, Any]]
    folder: Path | None
    seconds: float


def run_training(
    request: TrainingRequest,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    taps: Taps | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
) -> Run:
    """Train what the request says, or continue it.

    Raises:
        InputError: anything in the request cannot be used; nothing has been written then.
        KeyboardInterrupt: ctrl-C; the run folder holds a state to resume from.
    """
    if out is not None and resume is not None:
        raise InputError("give either out, for a new run, or resume, for one that exists")
    data = open_data(
        request.data, request.split, data_root=data_root, valid_range=request.valid_range, quiet=quiet,
        text=True, several=True,
    )  # fmt: skip
    if request.examples is not None:
        data = data.take(request.examples)
    if request.labelled is not None:
        seed = request.seed if request.label_seed is None else request.label_seed
        data = data.hide_labels(request.labelled, seed)
    settings = _settings(request, data, device, devices)
    objective = fit_to_data(_objective(request, data), data)
    teacher, data = _teacher(request, data, objective)
    student, config = new_student(request, data, settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed + 7919)  # the seed itself has drawn the first weights
        student, spec = objective.dress(student, config.spec)
    config = replace(config, spec=spec)
    source = _source(request, objective, data)
    if request.stored is not None:
        source = replay_of(request, objective, data, source)
    check_together(request, objective, data, None if teacher is None else teacher.module, student)
    if request.stored is not None:
        check_storable(objective, teacher)
    Player(student, None if teacher is None else teacher.module, objective, source, settings, taps or {})
    resumed = None if resume is None else RunFolder.resume(resume)
    settings = _with_threads(settings, student, data, None if resumed is None else resumed[1])
    content = _content(request, settings, data, teacher, config, objective, taps)
    with nothing_half(out) if out is not None else nullcontext():
        folder = _folder(out, resumed, content)
        if folder is not None and folder.finished:
            load_state(_unwrapped(student), folder.model_file)
            curves = folder.rows()
            return Run(student.eval(), curves, folder.path, _seconds(curves))
        answers = None
        if request.stored is not None:
            answers = stored_answers(request.stored, teacher, data, objective, source, quiet)
        shown, held = data.split_off(objective.needs.validation, settings.seed)
        with Progress(f"{request.command} {config.spec}", quiet) as bar:
            task = Task(
                student=student,
                teacher=None if teacher is None else teacher.module,
                objective=objective,
                source=source,
                data=shown,
                validation=held,
                answers=answers,
                settings=settings,
                taps=taps or {},
                folder=None if folder is None else folder.path,
                tick=functools.partial(_tick, bar),
            )
            state, curves = launch(settings, fit, task)
    student.load_state_dict(state)
    student = student.cpu().eval()
    if folder is not None:
        if isinstance(data, TokenSet):
            data.tokenizer.save(folder.path)
        save_model(folder.model_file, _unwrapped(student), config)
    return Run(student, curves, None if folder is None else folder.path, _seconds(curves))


def _content(
    request: TrainingRequest,
    settings: TrainingSettings,
    data: DataSet,
    teacher: LoadedModel | None,
    config: ModelConfig,
    objective: Objective,
    taps: Taps | None,
) -> dict[str, Any]:
    """What config.json holds: all that the training depends on."""
    written: dict[str, Any] = json.loads(
        json.dumps(
            {
                "schema": 1,
                "command": request.command,
                "understudy": __version__,
                "torch": torch.__version__,
                "request": request.plain(),
                "data": {
                    "name": data.name,
                    "split": data.split,
                    "examples": len(data),
                    "sha256": data.fingerprint(),
                },
                "teacher": None if teacher is None else {"source": teacher.source, "sha256": teacher.sha256},
                "student": config.to_json(),
                "method": describe(objective),
                "taps": taps or {},
                "training": {k: v for k, v in asdict(settings).items() if k not in ("device", "devices")},
            },
            default=plain,
        )
    )
    return written


def _unwrapped(student: nn.Module) -> nn.Module:
    """What is saved: the network itself, by the names that its own code gives its weights."""
    return student.body if isinstance(student, LogitsOnly) else student


def _tick(bar: Progress, done: int, total: int, loss: float | None) -> None:
    bar.update(done, total, "" if loss is None else f"loss {loss:.4f}")


def _seconds(curves: list[dict[str, Any]]) -> float:
    return sum(row["seconds"] for row in curves)


def _settings(request: TrainingRequest, data: DataSet, device: str, devices: int) -> TrainingSettings:
    settings = TrainingSettings(
        epochs=request.epochs if request.epochs is not None else default_epochs(data.name),
        batch_size=request.batch_size if data.edges is None else len(data),  # a graph is one batch
        optimizer=request.optimizer,  # type: ignore[arg-type]
        lr=request.lr if request.lr is not None else default_lr(data.name),
        weight_decay=request.weight_decay,
        schedule=request.schedule,  # type: ignore[arg-type]
        seed=request.seed,
        accumulate=request.accumulate,
        precision=request.precision,  # type: ignore[arg-type]
        device=device,  # type: ignore[arg-type]
        devices=devices,
    )
    if data.edges is not None and (devices > 1 or settings.accumulate > 1):
        raise InputError("a graph is one batch on one device: use accumulate=1 and devices=1")
    if devices > min(settings.batch_size, len(data)):
        raise InputError(
            f"{devices} devices need a batch of as many examples at least, found batches of "
            f"{min(settings.batch_size, len(data))}"
        )
    return settings


def _teacher(
    request: TrainingRequest, data: DataSet, objective: Objective
) -> tuple[LoadedModel | None, DataSet]:
    """The teacher, if there is one, and the data set with the number of classes that the first model tells."""
    if isinstance(data, TokenSet):
        if request.teacher is None:
            return None, data
        return open_text_teacher(request.teacher, data, objective)
    if objective.needs.vectors and not objective.needs.labels:  # no class is meant, whatever the set declares
        data = replace(data, labels=None, classes=None, class_names=None)
    if request.teacher is not None:
        return open_first(data, request.data, request.teacher, request.teacher_normalize)
    if isinstance(request.model, nn.Module):
        data = open_first(data, request.data, request.model, request.student_normalize)[1]
    return None, data


def _objective(request: TrainingRequest, data: DataSet) -> Objective:
    """The method, by name or as an object, at its training radius."""
    if isinstance(request.method, Objective):
        if request.options:
            raise InputError(
                "options set the fields of a method given by name; this one is an object already"
            )
        objective = request.method
    else:
        objective = make_method(language_method(request.method, data), dict(request.options or {}))
    if not is_dataclass(objective):
        raise InputError(f"{type(objective).__name__} must be a dataclass: config.json keeps its fields")
    if request.eps is not None:
        Ball(request.eps, request.norm, data.low, data.high)
    return _at_radius(request, objective, data)


def _at_radius(request: TrainingRequest, objective: Objective, data: DataSet) -> Objective:
    if isinstance(objective, Sum):
        return Sum(tuple((weight, _at_radius(request, part, data)) for weight, part in objective.parts))
    if isinstance(objective, AdversarialMethod) and objective.eps is None:
        eps = request.eps if request.eps is not None else default_radius(data.name)
        return objective.with_radius(eps, request.norm)
    if isinstance(objective, Method) and request.eps is not None:
        return objective.with_radius(request.eps, request.norm)
    return objective


def _source(request: TrainingRequest, objective: Objective, data: DataSet) -> Source:
    """The objective's source, behind the augmentation if one is asked for."""
    source = objective.source(data.low, data.high)
    kinds = {"none": (0, False), "shift": (2 if min(data.shape[-2:]) < 32 else 4, False)}
    kinds["shift+flip"] = (kinds["shift"][0], True)
    if request.augment not in kinds:
        raise InputError(f"augment must be one of {', '.join(kinds)}, found {request.augment!r}")
    if request.augment == "none":
        return source
    pixels, mirror = kinds[request.augment]
    return Chain((Augmented(pixels, mirror, fill=data.low), source))


def new_student(request: TrainingRequest, data: DataSet, seed: int) -> tuple[nn.Module, ModelConfig]:
    """A new network, its weights drawn from the seed; a run folder's; or the user's own module."""
    if data.classes is None:
        raise InputError(f"data set {data.name!r} does not say how many classes it has")
    base = ModelConfig("?", data.shape, data.classes, data.mean, data.std, data.low, data.high)
    normalize = request.student_normalize
    mean, std = (None, None) if normalize is None else parse_normalize(normalize)
    if isinstance(request.model, nn.Module):
        opened = open_for(data, request.model, normalize)
        kind = type(request.model)
        return opened.module, replace(base, spec=f"{kind.__module__}:{kind.__qualname__}", mean=mean, std=std)
    if request.model is None:
        raise InputError(f"{request.command} needs a model: name an architecture, or give a module")
    spec = str(request.model)
    if (trained := trained_before(spec, data)) is not None:
        return trained
    if is_module_path(spec):
        config = replace(base, spec=spec, mean=mean, std=std)
    elif normalize is None:
        size = None if data.edges is None else (len(data), data.edges.shape[1])
        config = replace(base, spec=zoo.full_spec(spec, data.shape, size))
    else:
        raise InputError(f"{spec} normalises by its data set: student_normalize is for a model from outside")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(config)
    if data.edges is not None:
        bind(module, data.edges)
    return module, config


def _with_threads(
    settings: TrainingSettings, student: nn.Module, data: DataSet, before: dict[str, Any] | None
) -> TrainingSettings:
    """The settings with a number of CPU threads: that of the run resumed, whose last bits depend on it."""
    if before is not None:
        threads = before.get("training", {}).get("threads")
    else:
        text = isinstance(data, TokenSet)
        threads = threads_for(student, data.shape, settings.batch_size, settings.devices, tokens=text)
    return replace(settings, threads=threads)


def _folder(
    out: str | Path | None, resumed: tuple[RunFolder, dict[str, Any]] | None, content: dict[str, Any]
) -> RunFolder | None:
    """A new run folder, or the one to resume if it was started with the same content."""
    if resumed is None:
        return None if out is None else RunFolder.create(out, content)
    folder, before = resumed
    request = before.get("request")
    if not isinstance(request, dict):
        raise InputError(f"{folder.config_file} does not hold a training request")
    named = [
        line
        for part in ("command", "data", "teacher", "student", "method", "taps", "training")
        for line in differences(part, before.get(part), content[part])
        if line.split(":")[0] != "teacher.source"  # its bytes count, not where they lie
    ]
    for field in ("augment", "teacher_normalize", "student_normalize", "stored_views"):
        named += differences(field, request.get(field), content["request"][field])
    if named:
        raise InputError(f"{folder.path} was started with another {'; another '.join(named)}")
    before_stored, now_stored = (one.get("stored") is not None for one in (request, content["request"]))
    if before_stored != now_stored:
        said = "stored answers" if before_stored else "a teacher that is asked"
        raise InputError(f"{folder.path} was started with {said}: go on with the same")
    return folder


def saved_request(resume: str | Path) -> dict[str, Any]:
    """The request that a run folder was started with."""
    _, content = RunFolder.resume(resume)
    known = TrainingRequest.__dataclass_fields__
    try:
        return {name: content["request"][name] for name in known if name in content["request"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{resume}/config.json does not hold a training request") from error


__all__ = [
    "Run",
    "TrainingRequest",
    "new_student",
    "run_training",
    "saved_request",
]
