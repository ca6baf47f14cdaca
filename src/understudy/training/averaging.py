"""`Average`: the mean of the student's weights over the last part of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from understudy.errors import InputError


class Average:
    """A running mean of a module's trained parameters, in float64.

    Args:
        module: what is trained.
        start: share of the run, in [0, 1), after which every step counts; None averages nothing.
    """

    def __init__(self, module: nn.Module, start: float | None) -> None:
        if start is not None and not 0 <= start < 1:
            raise InputError(f"weights are averaged from a share of the run in [0, 1) on, found {start}")
        self.module, self.start = module, start
        self.count = 0
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def note(self, progress: float) -> None:
        """Take the weights as the step at `progress` in [0, 1) left them."""
        if self.start is None or progress < self.start:
            return
        self.count += 1
        for name, value in self.module.named_parameters():
            if value.requires_grad:
                mean = self._mean.setdefault(name, torch.zeros_like(value, dtype=torch.float64))
                mean += (value - mean) / self.count

    @torch.no_grad()
    def settle(self, data: Iterable[Tensor]) -> None:
        """Give the module the means, and batch norm the statistics that it then sees over `data`, inputs (B, ...)."""
        for name, value in self.module.named_parameters():
            if name in self._mean:
                value.copy_(self._mean[name])
        update_bn(data, self.module)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "mean": dict(self._mean)}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from `state`."""
        if state is not None:
            self.count = state["count"]
            device = {name: value.device for name, value in self.module.named_parameters()}
            self._mean = {name: value.clone().to(device[name]) for name, value in state["mean"].items()}
