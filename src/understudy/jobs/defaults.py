"""Defaults that depend on the data set: training radius, epochs."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.errors import InputError


@dataclass(frozen=True)
class DataDefaults:
    """What the field uses on a set: training radius (in the data's units) and epochs that suffice here."""

    radius: float
    epochs: int


DEFAULTS = {
    "digits": DataDefaults(radius=0.1, epochs=60),
    "mnist": DataDefaults(radius=0.1, epochs=10),
    "fashion_mnist": DataDefaults(radius=0.1, epochs=10),
    "cifar10": DataDefaults(radius=8 / 255, epochs=30),
}
EPOCHS = 20


def default_epochs(data: str) -> int:
    """Epochs for a data set by name; 20 for sets that are not named here."""
    return DEFAULTS[data].epochs if data in DEFAULTS else EPOCHS


def default_radius(data: str) -> float:
    """The training radius of a named set.

    Raises:
        InputError: the set has no customary radius, so it must be stated.
    """
    if data not in DEFAULTS:
        raise InputError(f"data set {data!r} has no customary radius: state eps")
    return DEFAULTS[data].radius


def default_grid(data: str) -> tuple[float, ...]:
    """The audit's grid of a named set: 0, a quarter, a half and the whole of the training radius."""
    radius = default_radius(data)
    return (0.0, radius / 4, radius / 2, radius)
