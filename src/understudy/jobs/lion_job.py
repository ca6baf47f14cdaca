"""`lion` from options to a run folder, which a run that was stopped goes on from without asking anything again.

answers.jsonl            all that the teacher has said, in every role
rounds/K/student/        the run folder of the imitation
rounds/K/judged.jsonl    scores, and which tasks are hard
rounds/K/new.jsonl       the tasks that were made
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from understudy.data.text import TokenSet, from_pairs
from understudy.data.tokenizers import open_tokenizer
from understudy.errors import InputError
from understudy.jobs.audit_job import torch_device
from understudy.jobs.opening import open_data
from understudy.jobs.training_job import Run, TrainingRequest, new_student, run_training
from understudy.models.language_opening import open_language_model
from understudy.models.saved import read_config, save_model
from understudy.recipes.base import TextRecipe
from understudy.recipes.lion import Invented, Lion
from understudy.recipes.lion_roles import ChatInventor, ChatReferee
from understudy.teachers.black_box import Cached, LocalTeacher, TextTeacher
from understudy.teachers.endpoint import Endpoint
from understudy.training.folder import RunFolder, differences, nothing_half, write_text
from understudy.version import __version__

ANSWERS = "answers.jsonl"
REFEREE, INVENTOR = 0.2, 1.0  # their temperatures
SIDE_BY_SIDE = 64  # prompts that a model on this machine answers at once


def run_lion(
    request: TrainingRequest,
    recipe: TextRecipe,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
) -> Run:
    """All rounds, or what is left of them. Each row of the curves bears its round, from 0 on.

    Raises:
        InputError: the recipe is not `Lion`, the data are no prompts and answers, there is no teacher, or anything
            else in the request cannot be used; nothing has been written then.
    """
    if not isinstance(recipe, Lion):
        raise InputError(
            f"no job runs {type(recipe).__name__}: a recipe for text is understudy.recipes.lion.Lion"
        )
    if out is not None and resume is not None:
        raise InputError("give either out, for a new run, or resume, for one that exists")
    where = {"data_root": data_root, "device": device, "devices": devices, "quiet": quiet}
    data = open_data(
        request.data,
        request.split,
        data_root=data_root,
        valid_range=request.valid_range,
        quiet=quiet,
        text=True,
    )
    if not isinstance(data, TokenSet) or not data.closed:
        raise InputError(f"lion reads tasks, prompts and answers; data set {data.name!r} holds none")
    data = data if request.examples is None else data.take(request.examples)
    teacher = open_text_teacher(request.teacher, recipe, data, device)
    new_student(request, data, request.seed)  # an architecture that cannot be is refused here
    content = _content(request, recipe, data, teacher)
    failed: Exception | None = None
    with ExitStack() as stack:
        place = out or resume or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(nothing_half(place) if resume is None else nullcontext())
        folder = _folder(Path(place), resume is not None, content)
        try:
            runs = _Rounds(request, recipe, data, teacher, folder.path, where).play()
        except Exception as error:
            if not (folder.path / ANSWERS).exists():
                raise
            failed = error  # answers that were paid for stay, in a folder that can be resumed
        else:
            curves = [{**row, "round": number} for number, run in enumerate(runs) for row in run.curves]
            write_text(folder.metrics_file, "".join(json.dumps(row) + "\n" for row in curves))
            last = runs[-1]
            assert last.folder is not None
            data.tokenizer.save(folder.path)
            save_model(folder.model_file, last.student, read_config(RunFolder(last.folder).model_file))
    if failed is not None:
        raise failed
    kept = folder.path if out or resume else None
    return Run(last.student, curves, kept, sum(run.seconds for run in runs))


@dataclass(frozen=True, eq=False)
class _Rounds:
    """What the rounds share."""

    request: TrainingRequest
    recipe: Lion
    data: TokenSet
    teacher: TextTeacher
    folder: Path
    where: Mapping[str, Any]

    def play(self) -> list[Run]:
        """One training a round, and the last."""
        recipe, seed = self.recipe, self.request.seed
        local = isinstance(self.teacher, LocalTeacher)
        kept = Cached(
            self.teacher,
            self.folder / ANSWERS,
            together=SIDE_BY_SIDE if local else 1,
            workers=recipe.workers if isinstance(self.teacher, Endpoint) else 1,
        )
        referee = recipe.referee or ChatReferee(kept.sampled(REFEREE))
        inventor = recipe.inventor or ChatInventor(kept.sampled(INVENTOR, whole=True))
        prompts = [pair.prompt for pair in self.data.pairs]
        tail = "\n" if all(prompt.endswith("\n") for prompt in prompts) else ""
        pool = tasks = list(dict.fromkeys(prompts))
        runs: list[Run] = []
        for number in range(recipe.rounds + 1):
            place = self.folder / "rounds" / str(number)
            runs.append(self._imitate(tasks, kept.answer(tasks), place / "student", runs))
            if number == recipe.rounds:
                break
            if not (place / "new.jsonl").exists():
                chosen = recipe.chosen(pool, seed + number)
                own = self._says(runs[-1].student, seed + number).answer(chosen)
                judged = recipe.judge(referee, chosen, kept.answer(chosen), own)
                new = recipe.invent(inventor, judged, pool, seed + number)
                if not new:
                    raise InputError(
                        f"no new task could be made in round {number}: see the card of lion for the filters"
                    )
                _write(place / "judged.jsonl", [one._asdict() for one in judged])
                _write(place / "new.jsonl", [one._asdict() for one in new])
            tasks = [one.task.rstrip("\n") + tail for one in _read(place / "new.jsonl")]
            pool = list(dict.fromkeys([*pool, *tasks]))
        return runs

    def _imitate(self, tasks: Sequence[str], answers: Sequence[str], place: Path, before: list[Run]) -> Run:
        """The student trained on tasks and answers, from where the round before left it."""
        pairs = [(task, answer) for task, answer in zip(tasks, answers, strict=True) if answer]
        if not pairs:
            raise InputError(f"the teacher has no answer to any of {len(tasks)} tasks")
        name, length = self.data.name, self.data.shape[0]
        data = from_pairs(pairs, self.data.tokenizer, name=name, split=self.data.split, length=length)
        request = replace(
            self.request,
            data=data,
            model=str(before[-1].folder) if before else self.request.model,
            method="sft",
            options=None,
            teacher=None,
            examples=None,
            seed=self.request.seed + len(before),
        )
        started = (place / "config.json").exists()
        return run_training(
            request, out=None if started else place, resume=place if started else None, **self.where
        )

    def _says(self, student: nn.Module, seed: int) -> LocalTeacher:
        """The student as one that answers text."""
        length, most = self.data.shape[0], self.recipe.max_tokens
        device = torch_device(str(self.where["device"]))
        return LocalTeacher(
            student.to(device), self.data.tokenizer, self.recipe.temperature, most, length, seed, SIDE_BY_SIDE
        )


def open_text_teacher(source: Any, recipe: Lion, data: TokenSet, device: str = "auto") -> TextTeacher:
    """The teacher: an object with `answer` as it is; "https://HOST/v1#MODEL"; or a language model in any form.

    Raises:
        InputError: there is none, or no such model.
    """
    if source is None:
        raise InputError("recipe lion needs a teacher")
    if isinstance(source, TextTeacher):
        return source
    name = str(source)
    if isinstance(source, str) and name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        return Endpoint(
            url, model, recipe.key_variable, temperature=recipe.temperature, max_tokens=recipe.max_tokens
        )
    tokenizer = data.tokenizer if isinstance(source, nn.Module) else open_tokenizer(name)
    module = open_language_model(source, data.shape[0], tokenizer.size).module.to(torch_device(device))
    return LocalTeacher(module, tokenizer, recipe.temperature, recipe.max_tokens, batch=SIDE_BY_SIDE)


def _content(request: TrainingRequest, recipe: Lion, data: TokenSet, teacher: TextTeacher) -> dict[str, Any]:
    options = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    kinds = {
        name: type(options[name]).__name__ for name in ("referee", "inventor") if options[name] is not None
    }
    plain = request.plain()
    settings = (
        "model",
        "epochs",
        "seed",
        "batch_size",
        "lr",
        "optimizer",
        "schedule",
        "weight_decay",
        "precision",
    )
    return {
        "schema": 1,
        "command": request.command,
        "understudy": __version__,
        "request": {**plain, "method": plain["method"] if isinstance(request.method, str) else "lion"},
        "data": {"name": data.name, "split": data.split, "examples": len(data), "sha256": data.fingerprint()},
        "teacher": {"key": teacher.key},
        "recipe": {**options, **kinds},
        "settings": {name: plain[name] for name in settings},
    }


def _folder(path: Path, resumed: bool, content: dict[str, Any]) -> RunFolder:
    """A new folder, or the one to resume if it was started with the same recipe, data, teacher and settings."""
    if not resumed:
        return RunFolder.create(path, content)
    folder, before = RunFolder.resume(path)
    content = json.loads(json.dumps(content))
    named = [
        line
        for part in ("data", "teacher", "recipe", "settings")
        for line in differences(part, before.get(part), content[part])
    ]
    if named:
        raise InputError(f"{folder.path} was started with another {'; another '.join(named)}")
    return folder


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read(file: Path) -> list[Invented]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return [Invented(**row) for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} does not hold a round's new tasks: {error}") from error
