"""`DataSet`: examples in memory, as floats in a declared valid range, each with its index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from understudy.data.batch import CLEAN
from understudy.errors import InputError

CHUNK = 8192
SLACK = 1e-6  # float inputs this far outside the range are rounding, and are clamped into it


@dataclass(frozen=True, eq=False)
class DataSet:
    """A finite set of examples, indexed 0..N-1 in file order.

    Inputs are kept as stored (often uint8, often memory-mapped) and turned into floats when they are read:
    `stored / scale`, so that they lie in [`low`, `high`], the range in which every radius is measured.

    Attributes:
        name: what the set is called in reports.
        split: "train", "test", ...
        stored: (N, ...) inputs as stored; images are (N, channels, height, width).
        labels: (N,) int64 class indices, or None for unlabelled data; -1 where `partly` allows an example without one;
            (N, C) of 0 and 1 where an example bears several.
        classes: number of classes, or None if it is not known (unlabelled data).
        scale: what stored values are divided by; None leaves them as they are.
        low, high: valid range of an input value; infinities mean unbounded.
        mean, std: statistics a channel, for models that normalise; None where the field uses none.
        class_names: names for the report, in class order.
        partly: whether some examples may bear no label, which is written -1.
        edges: (2, E) int64 (from, to) where the examples are the nodes of a graph, both directions of an undirected
            edge, no node to itself; the whole graph is then the one batch.

    Raises:
        InputError: no examples; low >= high; a label that is not 0..classes-1 (or -1, if `partly`); a value that
            is NaN, infinite or outside the range (the message names the example); an edge that is none.
    """

    name: str
    split: str
    stored: Num[Tensor, "n ..."] = field(repr=False)
    labels: Int[Tensor, " n *c"] | None = field(default=None, repr=False)
    classes: int | None = None
    scale: float | None = None
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    partly: bool = False
    edges: Int[Tensor, "2 e"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.stored) == 0:
            raise InputError(f"data set {self.name!r} ({self.split}) holds no examples")
        if not self.low < self.high:
            raise InputError(
                f"valid range of {self.name!r} must have low < high, found [{self.low}, {self.high}]"
            )
        if self.scale is not None and not self.scale > 0:
            raise InputError(f"scale of {self.name!r} must be above 0, found {self.scale}")
        if self.labels is not None:
            self._check_labels(self.labels)
        if self.edges is not None:
            self._check_edges(self.edges)
        self._check_values()

    def _check_labels(self, labels: Tensor) -> None:
        """Refuse labels that cannot be class indices; count the classes where nobody said how many."""
        if len(labels) != len(self.stored):
            raise InputError(f"data set {self.name!r}: {len(self.stored)} inputs but {len(labels)} labels")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"data set {self.name!r}: labels must be integers, found {labels.dtype}")
        if labels.dim() > 1:
            self._check_several(labels)
            return
        top = (self.classes if self.classes is not None else int(labels.max()) + 1) - 1
        least = -1 if self.partly else 0
        wrong = (labels < least) | (labels > top)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"data set {self.name!r}: labels must be 0..{max(top, 0)}"
                f"{' or -1 (none)' if self.partly else ''}, found {int(labels[row])} at example {row}"
            )
        if top < 0:
            raise InputError(f"data set {self.name!r}: no example has a label, so state how many classes")
        object.__setattr__(self, "classes", top + 1)

    def _check_several(self, labels: Tensor) -> None:
        """Refuse labels (N, C) that do not say yes or no to each class."""
        classes = self.classes if self.classes is not None else labels.shape[1]
        if labels.dim() != 2 or labels.shape[1] != classes or self.partly:
            raise InputError(
                f"data set {self.name!r}: several labels an example are ({len(self.stored)}, {classes}), none of them "
                f"missing; found {tuple(labels.shape)}{', partly labelled' if self.partly else ''}"
            )
        wrong = (labels != 0) & (labels != 1)
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            raise InputError(
                f"data set {self.name!r}: several labels an example are 0 or 1 for each class, "
                f"found {int(labels[row, column])} at example {row}, class {column}"
            )
        object.__setattr__(self, "classes", classes)

    def _check_edges(self, edges: Tensor) -> None:
        """Refuse edges that lead nowhere, or from a node to itself (who needs those adds them)."""
        wrong = ((edges < 0) | (edges >= len(self.stored))).any(0) | (edges[0] == edges[1])
        if wrong.any():
            which = int(wrong.nonzero()[0])
            raise InputError(
                f"data set {self.name!r}: an edge joins two different nodes of 0..{len(self.stored) - 1}, "
                f"found {tuple(edges[:, which].tolist())} at edge {which}"
            )

    def _check_values(self) -> None:
        """Refuse NaN and values outside the valid range (in chunks: stored may be memory-mapped)."""
        scale = self.scale or 1.0
        if self.stored.dtype == torch.uint8 and self.low <= 0 and 255 / scale <= self.high:
            return  # no byte can be wrong, so a memory-mapped set need not be read
        low, high = self.low * scale, self.high * scale
        slack = SLACK * scale if self.stored.is_floating_point() else 0.0
        rounded = False
        for start in range(0, len(self.stored), CHUNK):
            part = self.stored[start : start + CHUNK]
            if part.is_floating_point() and not part.isfinite().all():
                bad = start + int((~part.isfinite()).flatten(1).any(1).nonzero()[0])
                kind = "NaN" if self.stored[bad].isnan().any() else "an infinite value"
                raise InputError(f"data set {self.name!r}: example {bad} contains {kind}")
            least, most = float(part.min()), float(part.max())
            if least < low - slack or most > high + slack:
                bad = start + int(
                    ((part < low - slack) | (part > high + slack)).flatten(1).any(1).nonzero()[0]
                )
                found = self.stored[bad]
                raise InputError(
                    f"data set {self.name!r}: values must lie in [{self.low:g}, {self.high:g}], "
                    f"found {float(found.min()) / scale:g}..{float(found.max()) / scale:g} at example {bad}"
                )
            rounded = rounded or least < low or most > high
        if rounded and self.stored.is_floating_point():
            object.__setattr__(self, "stored", self.stored.clamp(low, high))

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def multi_label(self) -> bool:
        """Whether an example bears several labels: they are (N, C) of 0 and 1 then."""
        return self.labels is not None and self.labels.dim() == 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis."""
        return tuple(self.stored.shape[1:])

    def inputs(self, index: Int[Tensor, " b"] | slice) -> Float[Tensor, "b ..."]:
        """Float32 inputs at the given rows, in [low, high]: (B, ...). Always a fresh tensor.

        A model that works in place on its input (`nn.ReLU(inplace=True)`) leaves the set as it is.
        """
        # index_select copies whole rows: several times faster than stored[index] on bytes
        rows = self.stored[index] if isinstance(index, slice) else self.stored.index_select(0, index)
        chosen = rows.to(torch.float32)
        if isinstance(index, slice) and chosen is rows:
            chosen = rows.clone()
        return chosen if self.scale is None else chosen.div_(self.scale)

    def views(self, index: Int[Tensor, " b"] | slice) -> dict[str, Tensor]:
        """All that the models are shown of the given rows, by view (B, ...)."""
        return {CLEAN: self.inputs(index)}

    def masks(self, index: Int[Tensor, " b"] | slice) -> dict[str, Tensor]:
        """Which positions of a language model's answer count, by view (B, L); {} for anything but text."""
        return {}

    def take(self, count: int) -> DataSet:
        """The first `count` examples, or all of them if there are fewer; of a graph with the edges among them."""
        if count < 1:
            raise InputError(f"a data set must keep at least one example, asked for {count}")
        labels = None if self.labels is None else self.labels[:count]
        kept = torch.arange(min(count, len(self)))
        edges = None if self.edges is None else edges_among(self.edges, kept, len(self))
        return replace(self, stored=self.stored[:count], labels=labels, edges=edges)

    def rows(self, index: Int[Tensor, " b"]) -> DataSet:
        """The examples at the given rows, in that order: a set of its own, indexed from 0."""
        labels = None if self.labels is None else self.labels[index]
        edges = None if self.edges is None else edges_among(self.edges, index, len(self))
        return replace(self, stored=self.stored[index], labels=labels, edges=edges)

    def split_off(self, share: float, seed: int) -> tuple[DataSet, DataSet | None]:
        """(what is left, `share` of the examples drawn from the seed); all of them and None for a share of 0.

        Raises:
            InputError: a share outside [0, 1), or one that leaves either part without an example.
        """
        if not 0 <= share < 1:
            raise InputError(f"the share of the data kept apart must be in [0, 1), found {share}")
        if share == 0:
            return self, None
        count = round(share * len(self))
        if not 0 < count < len(self):
            raise InputError(f"a share of {share:g} of {len(self)} examples leaves nothing on one side")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.rows(order[count:].sort().values), self.rows(order[:count].sort().values)

    def hide_labels(self, keep: int, seed: int) -> DataSet:
        """The same examples with `keep` labels, as evenly over the classes as they allow, and -1 for the rest.

        Raises:
            InputError: the set has no labels, or fewer than `keep`, or `keep` is below 1.
        """
        if self.labels is None or self.labels.dim() != 1:
            raise InputError(f"data set {self.name!r} has no labels, one an example, to hide")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order[self.labels[order] >= 0]
        if not 1 <= keep <= len(order):
            raise InputError(f"labels to keep must be 1..{len(order)}, found {keep}")
        place = torch.empty(
            len(order), dtype=torch.int64
        )  # 0 for a class's first example, 1 for its second, ...
        for label in self.labels[order].unique():
            own = self.labels[order] == label
            place[own] = torch.arange(int(own.sum()))
        kept = order[place.argsort(stable=True)[:keep]]
        labels = torch.full_like(self.labels, -1)
        labels[kept] = self.labels[kept]
        return replace(self, labels=labels, partly=True)

    def fingerprint(self) -> str:
        """SHA-256 over inputs, labels, edges, scale and range: what a run or a cache says it belongs to."""
        about = (
            self.scale,
            self.low,
            self.high,
            tuple(self.stored.shape),
            str(self.stored.dtype),
            self.classes,
        )
        digest = hashlib.sha256(repr(about).encode())
        for start in range(0, len(self.stored), CHUNK):
            digest.update(_bytes(self.stored[start : start + CHUNK]))
        if self.labels is not None:
            digest.update(_bytes(self.labels))
        if self.edges is not None:
            digest.update(_bytes(self.edges))
        return digest.hexdigest()


def edges_among(edges: Int[Tensor, "2 e"], nodes: Int[Tensor, " k"], count: int) -> Int[Tensor, "2 f"]:
    """The edges that join two of the nodes given, of `count` in all, numbered by their new places: (2, e)."""
    place = torch.full((count,), -1, dtype=torch.int64)
    place[nodes] = torch.arange(len(nodes))
    moved = place[edges]
    return moved[:, (moved >= 0).all(0)]


def _bytes(values: Tensor) -> memoryview:
    """The raw bytes of a tensor (of any type), without copying a contiguous one."""
    return values.contiguous().view(-1).view(torch.uint8).numpy().data
