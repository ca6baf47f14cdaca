"""`DataSet`: examples in memory, as floats in a declared valid range, each with its index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

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
        labels: (N,) int64 class indices, or None for unlabelled data.
        classes: number of classes, or None if it is not known (unlabelled data).
        scale: what stored values are divided by; None leaves them as they are.
        low, high: valid range of an input value; infinities mean unbounded.
        mean, std: statistics a channel, for models that normalise; None where the field uses none.
        class_names: names for the report, in class order.

    Raises:
        InputError: no examples; low >= high; a label that is not 0..classes-1; a value that is NaN, infinite
            or outside the range (the message names the example).
    """

    name: str
    split: str
    stored: Num[Tensor, "n ..."] = field(repr=False)
    labels: Int[Tensor, " n"] | None = field(default=None, repr=False)
    classes: int | None = None
    scale: float | None = None
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None

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
        self._check_values()

    def _check_labels(self, labels: Tensor) -> None:
        """Refuse labels that cannot be class indices; count the classes where nobody said how many."""
        if len(labels) != len(self.stored):
            raise InputError(f"data set {self.name!r}: {len(self.stored)} inputs but {len(labels)} labels")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"data set {self.name!r}: labels must be integers, found {labels.dtype}")
        top = (self.classes if self.classes is not None else int(labels.max()) + 1) - 1
        wrong = (labels < 0) | (labels > top)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"data set {self.name!r}: labels must be 0..{max(top, 0)}, "
                f"found {int(labels[row])} at example {row}"
            )
        object.__setattr__(self, "classes", top + 1)

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

    def take(self, count: int) -> DataSet:
        """The first `count` examples, or all of them if there are fewer."""
        if count < 1:
            raise InputError(f"a data set must keep at least one example, asked for {count}")
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, stored=self.stored[:count], labels=labels)

    def fingerprint(self) -> str:
        """SHA-256 over inputs, labels, scale and range: what a run or a cache says it belongs to."""
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
        return digest.hexdigest()


def _bytes(values: Tensor) -> memoryview:
    """The raw bytes of a tensor (of any type), without copying a contiguous one."""
    return values.contiguous().view(-1).view(torch.uint8).numpy().data
