"""Optimisers and schedules. A schedule is a function of progress, so it has no state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from understudy.training.settings import TrainingSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over `parameters`."""
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=0.9, nesterov=True, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, settings.lr, weight_decay=decay)


def learning_rate(settings: TrainingSettings, progress: float) -> float:
    """The learning rate when `progress` in [0, 1) of the run lies behind."""
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))
