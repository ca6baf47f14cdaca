from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.loader import permutation
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.objectives.divergences import kl
from understudy.training.checkpoint import load_checkpoint
from understudy.training.folder import RunFolder
from understudy.training.method import Method

Nets = Callable[..., nn.Module]
TrainIt = Callable[..., tuple[dict[str, Tensor], list[dict[str, Any]]]]
FD = {"steps": "3", "alpha": "0.5", "hard_weight": "0.1"}


def fd() -> Method:
    return make_method("fd", FD).with_radius(0.1)


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert list(one) == list(other)
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)


def by_hand(
    student: nn.Module, teacher: nn.Module, data: DataSet, *, epochs: int, size: int, lr: float, seed: int
) -> tuple[dict[str, Tensor], list[float]]:
    """SD as anybody would write it."""
    teacher.eval()
    student.train()
    optimizer = torch.optim.Adam(student.parameters(), lr)
    total, step, losses = epochs * math.ceil(len(data) / size), 0, []
    for epoch in range(epochs):
        kept = []
        for rows in permutation(len(data), seed, epoch).split(size):
            x = data.inputs(rows)
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / total))
            with torch.no_grad():
                wanted = teacher(x)
            loss = kl(wanted, student(x)).sum() / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            kept.append(loss.detach())
            step += 1
        losses.append(float(torch.stack(kept).sum() / len(kept)))
    return {k: v.detach() for k, v in student.state_dict().items()}, losses


@pytest.mark.parametrize("norm", [False, True])
def test_sd_is_a_loop_written_by_hand_to_the_last_bit(
    digits: DataSet, make_net: Nets, train_it: TrainIt, norm: bool
) -> None:
    teacher = make_net(1, 20)
    expected, losses = by_hand(make_net(2, norm=norm), teacher, digits, epochs=3, size=32, lr=0.01, seed=5)
    found, rows = train_it(make_net(2, norm=norm), teacher, make_method("sd"), epochs=3, seed=5)
    assert apart(found, expected) == 0
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-6)
    assert losses[-1] < 0.8 * losses[0]


def test_rows_of_metrics(make_net: Nets, train_it: TrainIt) -> None:
    method = make_method("sd", {"alpha": "0.5"})
    student = make_net(2)
    _, rows = train_it(student, make_net(1), method, epochs=2, lr=0.02)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [5, 10]  # 150 examples, 32 a batch: the last batch has 22
    for row in rows:
        assert row["loss"] == pytest.approx(row["loss_soft"] + row["loss_hard"])
        assert 0 <= row["train_accuracy"] <= 1
        assert 0 <= row["agreement"] <= 1
    assert rows[1]["lr"] == pytest.approx(0.02 * 0.5 * (1 + math.cos(math.pi * 0.9)))


def test_rounds_of_accumulation_change_nothing(make_net: Nets, train_it: TrainIt) -> None:
    teacher = make_net(1)  # 150 examples in batches of 64: 64, 64, 22, in portions of 22, 22, 20 and 8, 8, 6
    one, first = train_it(make_net(2), teacher, fd(), batch_size=64, optimizer="sgd")
    three, second = train_it(make_net(2), teacher, fd(), batch_size=64, optimizer="sgd", accumulate=3)
    assert apart(one, make_net(2).state_dict()) > 0
    assert apart(one, three) < 1e-6
    assert [r["loss"] for r in first] == pytest.approx([r["loss"] for r in second], rel=1e-5)
    more, _ = train_it(make_net(2), teacher, fd(), batch_size=64, optimizer="sgd", accumulate=1000)
    assert apart(one, more) < 1e-6  # more portions than examples


def test_two_trainings_are_the_same_and_another_seed_is_another(make_net: Nets, train_it: TrainIt) -> None:
    runs = [train_it(make_net(2), make_net(1), fd(), seed=seed)[0] for seed in (0, 0, 1)]
    assert apart(runs[0], runs[1]) == 0
    assert apart(runs[0], runs[2]) > 0


def test_schedules_and_optimisers_do_differ(make_net: Nets, train_it: TrainIt) -> None:
    teacher, found = make_net(1), []
    for changes in (
        {},
        {"schedule": "constant"},
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ):
        state, rows = train_it(make_net(2), teacher, make_method("sd"), **changes)
        found.append(state)
        if changes.get("schedule") == "constant":
            assert [row["lr"] for row in rows] == [0.01, 0.01]
    assert all(apart(a, b) > 0 for i, a in enumerate(found) for b in found[:i])


def test_batch_norm_students_train_and_are_attacked_in_eval_mode(make_net: Nets, train_it: TrainIt) -> None:
    student = make_net(2, norm=True)
    state, _ = train_it(student, make_net(1), fd(), epochs=2)
    assert (
        int(state["2.num_batches_tracked"]) == 2 * 5 * 2
    )  # attacked and clean view of each batch, no attack step
    in_train, _ = train_it(make_net(2, norm=True), make_net(1), replace(fd(), attack_mode="train"), epochs=2)
    assert int(in_train["2.num_batches_tracked"]) > 20


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_says_so(make_net: Nets, train_it: TrainIt, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the loss is (nan|inf) in epoch \d+: .* a lower learning rate than 1e\+30"
    ):
        train_it(make_net(2), make_net(1), make_method("sd"), lr=1e30, optimizer="sgd", folder=tmp_path)


def test_the_callers_random_states_are_left_alone(make_net: Nets, train_it: TrainIt, tmp_path: Path) -> None:
    student, teacher = make_net(2), make_net(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train_it(student, teacher, fd(), folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@dataclass(frozen=True)
class Failing(us.Objective):
    """Raises after some batches; reads a feature, so that hooks hang on both models."""

    needs = us.Needs(features=("mid",))

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        if batch.progress >= 0.3:
            raise RuntimeError("objective failed")
        return {"mid": (student.features["mid"] - teacher.features["mid"]).square().mean(1)}


@pytest.mark.parametrize("fails", [False, True])
def test_the_teacher_is_a_guest(make_net: Nets, train_it: TrainIt, fails: bool) -> None:
    teacher = make_net(1, norm=True)
    teacher[2].eval()  # a mixture of modes and of flags
    teacher[1].bias.requires_grad_(False)
    teacher[1].weight.grad = torch.ones_like(teacher[1].weight)
    before = copy.deepcopy(teacher.state_dict())
    modes = [part.training for part in teacher.modules()]
    wanted = [p.requires_grad for p in teacher.parameters()]
    student = make_net(2)
    if fails:
        with pytest.raises(RuntimeError, match="objective failed"):
            train_it(student, teacher, Failing(), taps={"mid": ("3", "2")})
    else:
        train_it(student, teacher, fd())
    assert apart(before, teacher.state_dict()) == 0
    assert [part.training for part in teacher.modules()] == modes
    assert [p.requires_grad for p in teacher.parameters()] == wanted
    assert torch.equal(teacher[1].weight.grad, torch.ones_like(teacher[1].weight))
    for module in (teacher, student):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_no_checkpoint_holds_the_teacher(make_net: Nets, train_it: TrainIt, tmp_path: Path) -> None:
    teacher = make_net(1, 999)
    train_it(make_net(2), teacher, fd(), folder=tmp_path)
    (place,) = (tmp_path / "checkpoint").iterdir()
    kept = load_file(place / "tensors.safetensors")
    theirs = {tuple(p.shape) for p in teacher.parameters() if 999 in p.shape}
    assert theirs
    assert not theirs & {tuple(tensor.shape) for tensor in kept.values()}
    assert sum(p.stat().st_size for p in place.iterdir()) < 40_000


def test_there_is_a_state_from_the_first_step_on(make_net: Nets, train_it: TrainIt, tmp_path: Path) -> None:
    seen: list[int] = []

    def look(done: int, total: int, loss: float | None) -> None:
        seen.append(len(list((tmp_path / "checkpoint").glob("step-*"))))

    train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path, tick=look)
    assert seen == [0] + [1] * 9


@pytest.mark.parametrize("stop_at", [1, 4, 5, 7, 9])
def test_ctrl_c_and_resume_end_bit_for_bit_the_same(
    make_net: Nets, train_it: TrainIt, tmp_path: Path, stop_at: int
) -> None:
    """5 steps an epoch: 5 is the end of one, where the epoch's row must not be lost."""
    whole, rows = train_it(make_net(2, norm=True), make_net(1), fd(), folder=tmp_path / "whole")

    def interrupt(done: int, total: int, loss: float | None) -> None:
        if done == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_it(make_net(2, norm=True), make_net(1), fd(), folder=tmp_path / "cut", tick=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    saved = load_checkpoint(tmp_path / "cut" / "checkpoint")
    assert saved is not None
    assert saved["place"]["step"] == stop_at
    again, resumed = train_it(make_net(7, norm=True), make_net(1), fd(), folder=tmp_path / "cut")
    assert apart(whole, again) == 0
    for one, other in zip(rows, resumed, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert RunFolder(tmp_path / "cut").rows() == resumed


def test_ctrl_c_at_the_very_last_step_is_too_late(make_net: Nets, train_it: TrainIt, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, loss: float | None) -> None:
        if done == total:
            os.kill(os.getpid(), signal.SIGINT)

    _, rows = train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path, tick=interrupt)
    assert len(rows) == 2


def test_a_row_written_after_the_last_state_is_written_again(
    make_net: Nets, train_it: TrainIt, tmp_path: Path
) -> None:
    """Killed between the epoch's row and its checkpoint."""
    whole, rows = train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "a", epochs=2)
    stop: list[int] = []

    def interrupt(done: int, total: int, loss: float | None) -> None:
        if done == 3 and not stop:
            stop.append(done)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "b", tick=interrupt)
    RunFolder(tmp_path / "b").add_row({"epoch": 1, "loss": 99.0})
    again, resumed = train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "b")
    assert apart(whole, again) == 0
    assert [r["loss"] for r in resumed] == [r["loss"] for r in rows]


def test_a_full_disk_in_the_middle_leaves_a_state(
    make_net: Nets, train_it: TrainIt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "a")
    from understudy.training import checkpoint

    real, calls = checkpoint.save_file, []

    def full_at_the_end(*args: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_at_the_end)
        with pytest.raises(InputError, match="No space left"):
            train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "b")
    again, _ = train_it(make_net(2), make_net(1), make_method("sd"), folder=tmp_path / "b")
    assert apart(whole, again) == 0
