"""`Choice`: which examples a stage is shown and which of their labels, decided when the stage's turn comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.data.loader import in_order
from understudy.errors import InputError
from understudy.models.look import frozen, logits_of
from understudy.objectives.base import EMBEDDING
from understudy.training.embedding import TappedBeforeHead

NO_LABEL = -1
_BATCH = 512


@dataclass(frozen=True)
class Chosen:
    """What a stage is shown of the data.

    Attributes:
        rows: which examples, a row number each, repeated ones as often as they stand here; None is all of them.
        labelled: rows whose labels the stage sees; None is all. The others' labels become -1.
        balanced: whether the fewer of the labelled and the unlabelled are repeated until both are equally many,
            as if every batch were drawn half from the one and half from the other.
        notes: what the choice has to tell, JSON values by name.
    """

    rows: tuple[int, ...] | None = None
    labelled: tuple[int, ...] | None = None
    balanced: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Chosen:
        """The inverse of `to_json`; InputError if these are not the fields of a choice."""
        try:
            rows, labelled = (_rows(values[name]) for name in ("rows", "labelled"))
            balanced, notes = values["balanced"], values["notes"]
        except (KeyError, TypeError) as error:
            raise InputError(f"a choice must have rows, labelled, balanced and notes: {error!r}") from error
        if not isinstance(balanced, bool) or not isinstance(notes, dict):
            raise InputError(
                f"a choice's `balanced` must be true or false and its notes an object, found {values}"
            )
        return cls(rows, labelled, balanced, notes)


@dataclass(frozen=True, eq=False)
class Known:
    """What a choice is made from.

    Attributes:
        data: all examples, with all labels.
        seed: the run's.
        before: what earlier stages were shown, by name.
        model: name of an earlier stage, or "teacher" -> its model, inputs in the data's range to logits.
        device: where models are asked.
    """

    data: DataSet
    seed: int
    before: Mapping[str, Chosen]
    model: Callable[[str], nn.Module]
    device: torch.device

    def logits(self, name: str) -> Float[Tensor, "n c"]:
        """What a model says of every example: (N, C), in eval mode."""
        module = self.model(name)
        return self._over(module, lambda inputs: logits_of(module(inputs)))

    def embedding(self, name: str) -> Float[Tensor, "n d"]:
        """What enters a model's last linear layer: (N, D), in eval mode. InputError: it has no such layer."""
        module = self.model(name)
        with TappedBeforeHead(module, {EMBEDDING: None}) as look:
            return self._over(module, lambda inputs: look(inputs)[1][EMBEDDING].flatten(1))

    @torch.no_grad()
    def _over(self, module: nn.Module, ask: Callable[[Tensor], Tensor]) -> Tensor:
        home = next(module.parameters(), torch.zeros(())).device
        try:
            with frozen(module.to(self.device)):
                parts = [ask(b.clean.to(self.device)).cpu() for b in in_order(self.data, _BATCH)]
        finally:
            module.to(home)
        return torch.cat(parts)


class Choice(ABC):
    """Decides what a stage is shown. Subclasses are frozen dataclasses of JSON values, kept in config.json."""

    @abstractmethod
    def choose(self, known: Known) -> Chosen:
        """What its stage is shown: the same for the same data, seed and models."""


def shown(data: DataSet, chosen: Chosen) -> DataSet:
    """The data as a stage sees them.

    Raises:
        InputError: a row that the data do not have, none at all, or labels asked of data that have none.
    """
    rows = torch.arange(len(data)) if chosen.rows is None else _numbers(chosen.rows, data)
    labels = data.labels
    if chosen.labelled is not None:
        if labels is None:
            raise InputError(f"data set {data.name!r} has no labels of which some could be shown")
        known = torch.zeros(len(data), dtype=torch.bool)
        known[_numbers(chosen.labelled, data)] = True
        labels = labels.masked_fill(~known, NO_LABEL)
    if chosen.balanced and labels is not None:
        rows = _balanced(rows, labels.index_select(0, rows) != NO_LABEL)
    if len(rows) == 0:
        raise InputError("a stage must be shown one example at least, found none")
    if labels is None:
        return data.rows(rows)
    labels = labels.index_select(0, rows)
    return replace(data.rows(rows), labels=labels, partly=bool((labels == NO_LABEL).any()))


def _balanced(rows: Tensor, labelled: Tensor) -> Tensor:
    """The rows, then the fewer of the two kinds in turn until there are as many of them as of the other."""
    few, many = sorted((rows[labelled], rows[~labelled]), key=len)
    if len(few) == 0:
        return rows
    missing = len(many) - len(few)
    return torch.cat([rows, few.repeat(missing // len(few) + 1)[:missing]])


def _numbers(rows: tuple[int, ...], data: DataSet) -> Tensor:
    wrong = [row for row in rows if not 0 <= row < len(data)]
    if wrong:
        raise InputError(f"rows of data set {data.name!r} are 0..{len(data) - 1}, a choice has {wrong[0]}")
    return torch.tensor(rows, dtype=torch.int64)


def _rows(values: Any) -> tuple[int, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
        raise TypeError("rows must be a list of whole numbers or null")
    return tuple(values)
