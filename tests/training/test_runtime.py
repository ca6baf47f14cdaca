from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.training.loop import Task, fit
from understudy.training.runtime import Runtime, launch
from understudy.training.settings import TrainingSettings

Nets = Callable[..., nn.Module]


def test_one_device_runs_here() -> None:
    def work(runtime: Runtime, word: str) -> tuple[str, int, int, str, bool, int]:
        seen = torch.get_num_threads()
        return word, runtime.rank, runtime.world, runtime.device.type, runtime.any(True), seen

    before = torch.get_num_threads()
    assert launch(TrainingSettings(device="cpu", threads=3), work, "hello") == ("hello", 0, 1, "cpu", True, 3)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        launch(TrainingSettings(device="cuda"), lambda runtime: None)


@pytest.mark.slow
def test_two_processes_train_the_same_student(digits: DataSet, make_net: Nets, tmp_path: Any) -> None:
    """The same global batches, also the last one of 22; the student given stays as it is."""
    method = make_method("fd", {"steps": "3"}).with_radius(0.1)
    settings = TrainingSettings(
        epochs=2, batch_size=64, lr=0.01, optimizer="sgd", device="cpu", threads=1, accumulate=2
    )
    task = Task(make_net(2), make_net(1), method, method.source(0.0, 1.0), digits, settings, {}, None)
    one, rows = launch(settings, fit, task)
    given = make_net(2)
    many = replace(settings, devices=2)
    task = replace(task, student=given, settings=many, folder=tmp_path)
    two, others = launch(many, fit, task)
    assert list(one) == list(two)
    for name, value in one.items():
        assert not torch.equal(value, make_net(2).state_dict()[name])
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    for row, other in zip(rows, others, strict=True):
        assert list(row) == list(other)
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["agreement"] == other["agreement"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    for name, value in make_net(2).state_dict().items():
        assert torch.equal(value, given.state_dict()[name])


@pytest.mark.slow
def test_what_goes_wrong_in_another_process_is_said_here(digits: DataSet, make_net: Nets) -> None:
    method = make_method("sd")
    settings = TrainingSettings(lr=1e30, epochs=1, device="cpu", devices=2, threads=1, optimizer="sgd")
    task = Task(make_net(2), make_net(1), method, method.source(0.0, 1.0), digits, settings, {}, None)
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch 1"):
        launch(settings, fit, task)
