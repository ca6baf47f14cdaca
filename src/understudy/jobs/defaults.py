"""Defaults that depend on the data set: training radius, epochs, learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.errors import InputError


@dataclass(frozen=True)
class DataDefaults:
    """The field's training radius on a set (in the data's units), if any; epochs and learning rate that suffice."""

    radius: float | None
    epochs: int
    lr: float


DEFAULTS = {
    "digits": DataDefaults(radius=0.1, epochs=60, lr=4e-3),
    "digit_mosaic": DataDefaults(radius=0.1, epochs=30, lr=3e-3),
    "mnist": DataDefaults(radius=0.1, epochs=10, lr=2e-3),
    "fashion_mnist": DataDefaults(radius=0.1, epochs=10, lr=2e-3),
    "cifar10": DataDefaults(radius=8 / 255, epochs=30, lr=2e-3),
    "cora": DataDefaults(radius=None, epochs=200, lr=1e-2),
    "citeseer": DataDefaults(radius=None, epochs=200, lr=1e-2),
}
EPOCHS, LR = 20, 1e-3


def default_epochs(data: str) -> int:
    """Epochs for a data set by name; 20 for sets that are not named here."""
    return DEFAULTS[data].epochs if data in DEFAULTS else EPOCHS


def default_lr(data: str) -> float:
    """Adam's learning rate for a data set by name, at batches of 128; 0.001 for sets that are not named here."""
    return DEFAULTS[data].lr if data in DEFAULTS else LR


def default_radius(data: str) -> float:
    """The training radius of a named set.

    Raises:
        InputError: the set has no customary radius, so it must be stated.
    """
    radius = DEFAULTS[data].radius if data in DEFAULTS else None
    if radius is None:
        raise InputError(f"data set {data!r} has no customary radius: state eps")
    return radius


def default_grid(data: str) -> tuple[float, ...]:
    """The audit's grid of a named set: 0, a quarter, a half and the whole of the training radius."""
    radius = default_radius(data)
    return (0.0, radius / 4, radius / 2, radius)
