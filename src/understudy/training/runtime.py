"""Device, precision and processes: Lightning Fabric behind four methods. The loop knows no more of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.training.settings import TrainingSettings
from understudy.training.threads import using_threads

Result = TypeVar("Result")


class Runtime:
    """What one process knows of where it runs."""

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric
        self.device: torch.device = fabric.device
        self.rank: int = fabric.global_rank
        self.world: int = fabric.world_size

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes."""
        return self.fabric.autocast()

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add up gradients over processes, in one message. Each holds its share of the global mean already."""
        if self.world == 1:
            return
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        flat = self.fabric.all_reduce(flat, reduce_op="sum")
        start = 0
        for p in parameters:
            assert p.grad is not None
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()

    def sum_tensor(self, value: Tensor) -> Tensor:
        """Sum of a tensor over processes."""
        return value if self.world == 1 else self.fabric.all_reduce(value, reduce_op="sum")

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.world == 1:
            return flag
        return bool(self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum") > 0)


def launch(settings: TrainingSettings, work: Callable[..., Result], *args: Any) -> Result:
    """Run `work(runtime, *args)` on the devices that the settings name; the first process's result.

    With more than one device, `work` and `args` travel to fresh processes, so they must be importable.
    """
    from lightning_fabric import Fabric

    kind = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but this torch build or machine has no CUDA device")
    if kind == "cuda" and settings.devices > torch.cuda.device_count():
        raise InputError(f"{settings.devices} CUDA devices asked for, {torch.cuda.device_count()} found")
    strategy = "auto" if settings.devices == 1 else "ddp_spawn"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's hints about the machine, which the user did not ask for
        fabric = Fabric(
            accelerator="gpu" if kind == "cuda" else "cpu",
            devices=settings.devices,
            strategy=strategy,
            precision=settings.precision,
        )
    threads = settings.threads or max(1, torch.get_num_threads() // settings.devices)
    if settings.devices == 1:
        return _enter(fabric, work, threads, *args)
    return fabric.launch(_enter, work, threads, *args)


def _enter(fabric: Any, work: Callable[..., Result], threads: int, *args: Any) -> Result:
    with using_threads(threads):
        return work(Runtime(fabric), *args)
