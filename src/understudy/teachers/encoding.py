"""`Encoding`: how one unit's logits become bytes, and bytes become targets. And the dense one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers.targets import DenseTargets, Targets

FloatName = Literal["float16", "float32"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The bytes of some units.

    Attributes:
        entries: (M, width): one row a unit, or several where `lengths` says how many.
        lengths: (N,) entries of each unit, or None if each has one.
        lost: (N,) share of the probability that was left out, in [0, 1], or None if nothing is.
    """

    entries: UInt8[np.ndarray, "m w"]
    lengths: Int64[np.ndarray, " n"] | None = None
    lost: Float64[np.ndarray, " n"] | None = None


class Encoding(ABC):
    """One way to write a teacher's answer down. Subclasses are frozen dataclasses of plain numbers and names.

    Traits:
        kind: its name in the manifest.
        tempered: whether a temperature is part of what is stored; raw logits serve every one.
        varied: whether units differ in their number of entries.
    """

    kind: ClassVar[str]
    tempered: ClassVar[bool] = True
    varied: ClassVar[bool] = False

    @abstractmethod
    def width(self, classes: int) -> int:
        """Bytes of an entry. Raises InputError if it cannot encode so many classes."""

    def most(self, classes: int) -> int:
        """Largest number of bytes of a unit, the place of its entries included."""
        return self.width(classes)

    @abstractmethod
    def encode(
        self, logits: Float[Tensor, "n c"], temperature: float, rows: Int64[np.ndarray, " n"]
    ) -> Encoded:
        """The bytes of units `rows`, whose logits (N, C) are finite, at temperature T (1 if not `tempered`)."""

    @abstractmethod
    def decode(
        self, entries: UInt8[np.ndarray, "m w"], lengths: Int64[np.ndarray, " b"] | None, classes: int
    ) -> Targets:
        """What `encode` wrote, for B units in the order of their entries."""

    def describe(self) -> dict[str, Any]:
        """The encoding as plain data for the manifest."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Dense(Encoding):
    """All logits, before any temperature.

    Attributes:
        dtype: "float16" moves a logit z by at most 2^-11 |z| (2^-25 near 0) and needs |z| < 65,504.
    """

    dtype: FloatName = "float16"

    kind: ClassVar[str] = "dense"
    tempered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_float(self.dtype)

    def width(self, classes: int) -> int:
        """C numbers."""
        return classes * np.dtype(self.dtype).itemsize

    def encode(
        self, logits: Float[Tensor, "n c"], temperature: float, rows: Int64[np.ndarray, " n"]
    ) -> Encoded:
        """The logits as they are. Raises InputError for one that the type cannot hold."""
        values = logits.detach().cpu().to(getattr(torch, self.dtype))
        if not bool(values.isfinite().all()):
            found = float(logits.abs().max())
            raise InputError(f"a logit of {found:g} does not fit {self.dtype}: use Dense('float32')")
        return Encoded(as_bytes(values.numpy()))

    def decode(
        self, entries: UInt8[np.ndarray, "m w"], lengths: Int64[np.ndarray, " b"] | None, classes: int
    ) -> DenseTargets:
        """Logits (B, C) float32."""
        return DenseTargets(torch.from_numpy(entries.view(f"<f{np.dtype(self.dtype).itemsize}")).float())


def check_float(name: str) -> None:
    """InputError unless `name` is a type that can be stored."""
    if name not in ("float16", "float32"):
        raise InputError(f"dtype must be 'float16' or 'float32', found {name!r}")


def as_bytes(values: np.ndarray) -> np.ndarray:
    """(N, K) numbers as (N, K * size) little-endian bytes."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return little.view(np.uint8).reshape(len(values), -1)
