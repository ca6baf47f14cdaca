"""The choices between a recipe's stages: made when a stage's turn comes, kept as JSON, taken up again on resume."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError, unknown
from understudy.jobs.audit_job import torch_device
from understudy.recipes.base import Stage
from understudy.recipes.choice import Chosen, Known, shown
from understudy.training.folder import write_json

CHOICES = "choices"  # folder of one file a stage


@dataclass(eq=False)
class Choices:
    """What each stage of a recipe is shown.

    Attributes:
        data: all examples that the recipe is given.
        seed: the run's.
        device: "auto", "cpu" or "cuda": where models are asked.
        models: name -> the teacher or a finished stage's model; the recipe adds each when it is there.
        folder: the recipe's, or None if nothing is kept.
    """

    data: DataSet
    seed: int
    device: str
    models: dict[str, Any]
    folder: Path | None
    made: dict[str, Chosen] = field(default_factory=dict)

    def data_for(self, stage: Stage) -> DataSet:
        """The data as the stage sees them: by the choice that the folder holds, else by one that is made now.

        Raises:
            InputError: the choice cannot be made, or the file that holds it is damaged.
        """
        assert stage.choice is not None
        file = self._file(stage)
        if file is not None and file.exists():
            self.made[stage.name] = read_choice(file)
        else:
            known = Known(self.data, self.seed, self.made, self._model, torch_device(self.device))
            self.made[stage.name] = stage.choice.choose(known)
        found = shown(self.data, self.made[stage.name])
        if file is not None and not file.exists():
            file.parent.mkdir(exist_ok=True)
            write_json(file, self.made[stage.name].to_json())
        return found

    @contextmanager
    def kept_with(self, stage: Stage, run: Path | None) -> Iterator[None]:
        """If the block fails and leaves no run behind, a choice made for it goes too."""
        file = self._file(stage)
        try:
            yield
        except Exception:
            if file is not None and run is not None and not run.exists():
                file.unlink(missing_ok=True)
                if file.parent.is_dir() and not any(file.parent.iterdir()):
                    file.parent.rmdir()
            raise

    def _file(self, stage: Stage) -> Path | None:
        return None if self.folder is None else self.folder / CHOICES / f"{stage.name}.json"

    def _model(self, name: str) -> nn.Module:
        if name not in self.models:
            raise unknown("model that a choice may ask", name, self.models)
        found = self.models[name]
        if not isinstance(found, nn.Module):
            raise InputError(f"a choice asks networks, and {name!r} is {type(found).__name__}")
        return found


def read_choice(file: Path) -> Chosen:
    """A choice from its file.

    Raises:
        InputError: it cannot be read or holds something else.
    """
    try:
        return Chosen.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{file} does not hold a stage's choice: {error}") from error
