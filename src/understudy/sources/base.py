"""`Source`: what the student is shown. It is given a batch, the models and its own randomness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness

Net = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Cast:
    """The models on stage: the student's module, and the teacher as a function (None without a teacher).

    The teacher is a `models.memo.Memo`: asking it twice about the clean view costs one forward pass; its `module` is
    the network itself. `partners` are the other players' networks by name.
    """

    student: nn.Module
    teacher: Net | None
    partners: Mapping[str, nn.Module] = field(default_factory=dict)


class Source(ABC):
    """Turns a batch of the data into what the student is shown, usually by adding a view."""

    @abstractmethod
    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with the views this source makes. Rows, indices and labels stay as they are."""

    @property
    def whole_batch(self) -> bool:
        """Whether what it makes of an example depends on the others of its batch; micro-batches are refused then."""
        return False


@dataclass(frozen=True)
class AsIs(Source):
    """The data as it is."""

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch itself."""
        return batch


@dataclass(frozen=True)
class Chain(Source):
    """Several sources in a row; each sees what the one before it made."""

    sources: tuple[Source, ...]

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """What the last source makes of it."""
        for source in self.sources:
            batch = source.show(batch, cast, random)
        return batch

    @property
    def whole_batch(self) -> bool:
        """Whether one of them looks at the whole batch."""
        return any(source.whole_batch for source in self.sources)
