"""`ModelConfig`: what a saved network needs to be built again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from understudy.errors import InputError, unknown


@dataclass(frozen=True)
class ModelConfig:
    """An architecture, the inputs it takes and the classes it tells apart.

    Attributes:
        spec: architecture, e.g. "mlp[64,64]" or "package.module:callable".
        shape: shape of one input without the batch axis; images are (channels, height, width).
        classes: number of classes, 2 or more.
        mean, std: normalisation kept inside the model, a value a channel (the first axis) or one for all;
            both or neither. std is above 0.
        low, high: valid range of an input value, in the data's units; infinities mean unbounded.

    Raises:
        InputError: a field is out of its range, naming it and what was found.
    """

    spec: str
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.spec.strip():
            raise InputError("a model's spec must name an architecture, found an empty string")
        if not self.shape or any(side < 1 for side in self.shape):
            raise InputError(f"a model's input shape must be one or more positive sides, found {self.shape}")
        if self.classes < 2:
            raise InputError(f"a classifier needs 2 or more classes, found {self.classes}")
        if math.isnan(self.low) or math.isnan(self.high) or not self.low < self.high:
            raise InputError(f"valid range must have low < high, found [{self.low}, {self.high}]")
        if (self.mean is None) != (self.std is None):
            raise InputError(f"give mean and std together or not at all, found {self.mean} and {self.std}")
        if self.mean is not None and self.std is not None:
            check_statistics(self.mean, self.std, self.shape[0])

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values: tuples become lists, an unbounded end of the range null."""
        return {
            "spec": self.spec,
            "shape": list(self.shape),
            "classes": self.classes,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
            "low": None if math.isinf(self.low) else self.low,
            "high": None if math.isinf(self.high) else self.high,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_json`; raises InputError for a missing, unknown or mistyped field."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("field of a model's configuration", name, known)
        missing = [name for name in ("spec", "shape", "classes") if name not in values]
        if missing:
            raise InputError(f"a model's configuration lacks {', '.join(missing)}")
        if not isinstance(values["spec"], str):
            raise InputError(f"a model's spec must be a string, found {values['spec']!r}")
        try:
            return cls(
                spec=values["spec"],
                shape=tuple(_integer(side) for side in values["shape"]),
                classes=_integer(values["classes"]),
                mean=_numbers(values.get("mean")),
                std=_numbers(values.get("std")),
                low=_end(values, "low", 0.0, -math.inf),
                high=_end(values, "high", 1.0, math.inf),
            )
        except (TypeError, OverflowError) as error:
            raise InputError(f"a model's configuration holds a value of the wrong type: {error}") from error


def check_statistics(mean: tuple[float, ...], std: tuple[float, ...], channels: int | None = None) -> None:
    """Refuse (InputError) statistics of unequal length, neither one a channel nor one, or with std <= 0."""
    if len(mean) != len(std) or not mean:
        raise InputError(f"mean and std must be equally long, found {len(mean)} and {len(std)} values")
    if channels is not None and len(mean) not in (1, channels):
        raise InputError(f"mean and std must have 1 value or {channels} (one a channel), found {len(mean)}")
    if not all(map(math.isfinite, (*mean, *std))):
        raise InputError(f"mean and std must be finite, found {mean} and {std}")
    if min(std) <= 0:
        raise InputError(f"std must be above 0, found {std}")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r}")
    return float(value)


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(_number(value) for value in values)


def _end(values: Mapping[str, Any], name: str, default: float, unbounded: float) -> float:
    value = values.get(name, default)
    return unbounded if value is None else _number(value)
