"""`TrainingSettings`: everything about a training that is not the method, the data or the models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from understudy.errors import InputError, unknown

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainingSettings:
    """How long, in what portions, with which optimiser and where.

    Attributes:
        epochs: passes over the data, 1 or more.
        batch_size: examples a *global* step, over all devices and micro-batches.
        optimizer: "adam", "adamw" or "sgd" (momentum 0.9, Nesterov).
        lr: learning rate at the start.
        weight_decay: of the optimiser.
        schedule: "cosine" to zero over the run, or "constant".
        seed: of initialisation, order and attacks.
        accumulate: micro-batches a step; the result is the same, the memory smaller.
        precision: as Lightning Fabric names it.
        device: "auto" takes a GPU if there is one.
        devices: processes, one device each.
        threads: CPU threads a process; None lets `threads_for` choose. The last bits of a result depend on it.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Optimizer = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    seed: int = 0
    accumulate: int = 1
    precision: Precision = "32-true"
    device: Device = "auto"
    devices: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "devices"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be 1 or more, found {self.threads}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 or more, below 2**63, found {self.seed}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr must be a finite number above 0, found {self.lr}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay must be 0 or more, found {self.weight_decay}")
        choices = {"optimizer": Optimizer, "schedule": Schedule, "precision": Precision, "device": Device}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise unknown(name, str(getattr(self, name)), get_args(kind))
