"""Device, precision and processes: Lightning Fabric behind four methods. The loop knows no more of them."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.training.checkpoint import load_checkpoint, save_checkpoint
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

    With more than one device, `work` and `args` travel to fresh processes, so they must be importable; the
    result is a tree of tensors and JSON values, as a checkpoint holds it.

    Raises:
        InputError: there are no such devices, or whatever the first process to fail raised as one.
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
    from torch.multiprocessing.spawn import ProcessException

    with tempfile.TemporaryDirectory() as name, _working_folder_on_path():
        try:
            fabric.launch(_enter_many, work, threads, _Luggage(args), Path(name))
        except ProcessException:
            refused = Path(name) / "refused"
            if refused.exists():
                raise InputError(refused.read_text(encoding="utf-8")) from None
            raise
        found = load_checkpoint(Path(name))
    assert found is not None
    return found["result"]


def _enter(fabric: Any, work: Callable[..., Result], threads: int, *args: Any) -> Result:
    with using_threads(threads):
        return work(Runtime(fabric), *args)


class _Luggage:
    """Arguments on their way to other processes. Fabric would refuse frozen dataclasses if it saw inside."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpacked before Fabric sets the new process up: it is told here not to announce that."""
        import lightning_fabric

        logging.getLogger(lightning_fabric.__name__).setLevel(logging.WARNING)
        self.__dict__.update(state)


def _enter_many(
    fabric: Any, work: Callable[..., Result], threads: int, luggage: _Luggage, folder: Path
) -> None:
    """One of several processes. The result and an InputError go through files: a queue would hold neither."""
    runtime = Runtime(fabric)
    try:
        with using_threads(threads):
            result = work(runtime, *luggage.args)
        if runtime.is_main:
            save_checkpoint(folder, 0, {"result": result})
    except InputError as error:
        partial = folder / f"refused.{runtime.rank}"
        partial.write_text(str(error), encoding="utf-8")
        os.replace(partial, folder / "refused")
        raise


@contextmanager
def _working_folder_on_path() -> Iterator[None]:
    """Fresh processes inherit the path: a user's own classes from the working folder are found there too."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
