"""`TrainingRequest`: the options of a training, and how they are written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.attacks import Norm
from understudy.objectives.base import Objective, describe


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """The options of a training, as the command line has them; objects may stand in for names in Python.

    `options` are a method's fields as text; `augment` is "none", "shift" or "shift+flip"; `examples` keeps the
    first rows of the split only; `labelled` hides the labels of all but that many of them, drawn from the seed
    (from `label_seed` if it is stated: the stages of a recipe hide the same ones).
    `stored` is a folder that keeps the teacher's answers: written if they are not there, read if they are;
    `stored_views` how many draws of the augmentation are kept, shown in turn. None takes the default for the data set.
    """

    command: str
    data: Any
    model: Any
    method: Any = "ce"
    teacher: Any = None
    options: Mapping[str, str] | None = None
    eps: float | None = None
    norm: Norm = "linf"
    epochs: int | None = None
    seed: int = 0
    batch_size: int = 128
    lr: float | None = None
    optimizer: str = "adam"
    schedule: str = "cosine"
    weight_decay: float = 0.0
    accumulate: int = 1
    precision: str = "32-true"
    augment: str = "none"
    examples: int | None = None
    labelled: int | None = None
    label_seed: int | None = None
    stored: str | Path | None = None
    stored_views: int = 1
    split: str = "train"
    teacher_normalize: str | None = None
    student_normalize: str | None = None
    valid_range: tuple[float, float] | None = None

    def plain(self) -> dict[str, Any]:
        """The request as JSON types, to be compared with on resume; objects by the name of their class."""
        return {k: plain(getattr(self, k)) for k in self.__dataclass_fields__}


def plain(value: Any) -> Any:
    """A field's value as JSON types."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Objective):
        return describe(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple) and all(isinstance(v, int | float) for v in value):
        return [float(v) if abs(v) != float("inf") else None for v in value]
    return f"object of {type(value).__module__}:{type(value).__qualname__}"
