"""PS-KD against cross-entropy, label smoothing and a loop by hand; its memory, kept and restored."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.data.loader import permutation
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.models.outputs import View
from understudy.objectives.refined_targets import refined_targets, soft_cross_entropy
from understudy.sources import AsIs
from understudy.training.loop import Task, fit
from understudy.training.player import Player
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

LABELS = torch.arange(12) % 5
INPUTS = torch.rand(12, 6, generator=torch.Generator().manual_seed(0))
DATA = us.DataSet("made up", "train", INPUTS, LABELS)


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))


Trained = tuple[dict[str, Tensor], list[dict[str, float]]]


def fitted(objective: us.Objective, folder: Path | None = None, **settings: object) -> Trained:
    chosen = TrainingSettings(
        **{"epochs": 4, "batch_size": 5, "lr": 0.02, "device": "cpu", "threads": 1, **settings}  # type: ignore[arg-type]
    )
    source = objective.source(0.0, 1.0)
    return launch(chosen, fit, Task(net(), None, objective, source, DATA, chosen, {}, folder))


def test_without_a_share_it_is_cross_entropy_to_the_last_bit() -> None:
    ours, rows = fitted(make_method("ps_kd", {"alpha": "0"}))
    theirs, other = fitted(us.CrossEntropy())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [row["loss"] for row in rows] == [row["loss"] for row in other]


def test_the_first_epoch_is_cross_entropy_and_the_second_is_not() -> None:
    _, ours = fitted(make_method("ps_kd"))
    _, theirs = fitted(us.CrossEntropy())
    assert ours[0]["loss"] == pytest.approx(theirs[0]["loss"], rel=1e-6)
    assert abs(ours[1]["loss"] - theirs[1]["loss"]) > 1e-3


def test_a_training_is_a_loop_written_by_hand() -> None:
    student, past = net(), F.one_hot(LABELS, 5).float()
    optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9, nesterov=True)
    losses = []
    for epoch in range(4):
        share, summed = 0.8 * (epoch + 1) / 4, 0.0
        for rows in permutation(12, 0, epoch).split(5):
            logits = student(INPUTS[rows])
            target = (1 - share) * F.one_hot(LABELS[rows], 5) + share * past[rows]
            loss = -(target * logits.log_softmax(1)).sum(1).mean()
            past[rows] = logits.detach().softmax(1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            summed += loss.item()
        losses.append(summed / 3)
    ours, rows = fitted(make_method("ps_kd"), optimizer="sgd", lr=0.1, schedule="constant")
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-5)
    for name, value in student.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6)


def test_micro_batches_change_nothing() -> None:
    whole, _ = fitted(make_method("ps_kd"), optimizer="sgd")
    parts, _ = fitted(make_method("ps_kd"), optimizer="sgd", accumulate=3)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)


def test_a_training_resumed_in_its_middle_remembers(tmp_path: Path) -> None:
    """Stopped after the seventh step of twelve, in the third epoch."""
    straight, _ = fitted(make_method("ps_kd"))
    method, settings = (
        make_method("ps_kd"),
        TrainingSettings(epochs=4, batch_size=5, lr=0.02, device="cpu", threads=1),
    )
    steps: list[int] = []

    def stop(done: int, total: int, loss: float | None) -> None:
        steps.append(done)
        if done == 7:
            os.kill(os.getpid(), signal.SIGINT)

    task = Task(net(), None, method, AsIs(), DATA, settings, {}, tmp_path, stop)
    with pytest.raises(KeyboardInterrupt):
        launch(settings, fit, task)
    resumed, _ = fitted(method, tmp_path)
    assert steps[-1] == 7
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_a_uniform_past_is_label_smoothing_and_a_fixed_one_is_distillation() -> None:
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(3))
    smooth = soft_cross_entropy(refined_targets(LABELS, torch.full((12, 5), 0.2), 0.3), logits)
    expected = F.cross_entropy(logits, LABELS, reduction="none", label_smoothing=0.3)
    torch.testing.assert_close(smooth, expected)
    teacher = torch.randn(12, 5, generator=torch.Generator().manual_seed(4))
    p = teacher.softmax(1)
    mixed = soft_cross_entropy(refined_targets(LABELS, p, 0.3), logits)
    hard = F.cross_entropy(logits, LABELS, reduction="none")
    soft = -(p * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(mixed, 0.7 * hard + 0.3 * soft)


def test_targets_are_distributions_and_the_share_grows_to_its_end() -> None:
    p = torch.randn(12, 5, generator=torch.Generator().manual_seed(4)).softmax(1)
    p[3] = torch.nan
    targets = refined_targets(LABELS, p, 0.3)
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    assert targets[3].tolist() == F.one_hot(LABELS[3], 5).tolist()
    method = make_method("ps_kd")
    shares = [method.share(us.Batch({}, LABELS, LABELS, 0.0, epoch, 4)) for epoch in range(4)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_gradient_is_as_derived() -> None:
    """q - (1 - a) y - a P; at the true class, relative to cross-entropy, 1 - a (1 - P_t) / (1 - q_t)."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(12, 5, generator=generator, dtype=torch.float64).requires_grad_(True)
    p = torch.randn(12, 5, generator=generator, dtype=torch.float64).softmax(1)
    batch = us.Batch({}, torch.arange(12), LABELS, 0.5, 1, 4, {"confidence": p})
    said = us.Outputs({"clean": View(logits)})
    values = make_method("ps_kd").terms(said, us.Outputs({}), batch)["refined"]
    (found,) = torch.autograd.grad(values.sum(), logits)
    q, y = logits.detach().softmax(1), F.one_hot(LABELS, 5)
    torch.testing.assert_close(found, q - 0.6 * y - 0.4 * p)
    true = LABELS[:, None]
    ratio = (found / (q - y)).gather(1, true)
    torch.testing.assert_close(ratio, 1 - 0.4 * (1 - p.gather(1, true)) / (1 - q.gather(1, true)))


def test_a_model_that_stands_still_finds_its_own_answers() -> None:
    """After an epoch at no learning rate the past is the model's softmax, row by row, whatever the order."""
    student, method = net(), make_method("ps_kd")
    player = Player(student, None, method, AsIs(), TrainingSettings(batch_size=5))
    q = student(INPUTS).detach().softmax(1)
    target = 0.2 * F.one_hot(LABELS, 5) + 0.8 * q
    expected = -(target * q.log()).sum(1)
    with player:
        for rows in torch.tensor([7, 3, 11, 0, 5, 1, 9, 2, 8, 4, 10, 6]).split(5):
            player.contribute(us.Batch({"clean": INPUTS[rows]}, rows, LABELS[rows]), len(rows), Randomness(0))
        for rows in torch.arange(12).flip(0).split(4):
            batch = us.Batch({"clean": INPUTS[rows]}, rows, LABELS[rows])
            shares = player.contribute(batch, len(rows), Randomness(0))
            assert shares["refined"].item() == pytest.approx(expected[rows].mean().item(), rel=1e-5)


def test_several_devices_and_two_of_them_are_refused() -> None:
    with pytest.raises(us.InputError, match="remembers every example, on one device"):
        Player(net(), None, make_method("ps_kd"), AsIs(), TrainingSettings(devices=2))
    twice = make_method("ps_kd") + make_method("ps_kd", {"alpha": "0.3"})
    with pytest.raises(us.InputError, match=r"two objectives in this sum remember \['confidence'\]"):
        fitted(twice)
    fitted(0.5 * make_method("ps_kd") + us.CrossEntropy(), epochs=2)
