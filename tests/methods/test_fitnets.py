"""FitNets: its worked numbers, what each stage trains and leaves, the regressor's shapes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.methods import make_method
from understudy.methods.features.fitnets import FitNets
from understudy.models.outputs import View
from understudy.objectives.regressors import hint_distance, hint_regressor
from understudy.testing import check_method
from understudy.training.loop import Task, fit
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

INPUTS = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 5
TAPS = {"hint": ("1", "3")}
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


def conv(seed: int, *widths: int) -> nn.Sequential:
    """A layer of three by three and ReLU a width (layers 1, 3, ...), then the head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: list[nn.Module] = []
        for before, width in zip((1, *widths), widths, strict=False):
            parts += [nn.Conv2d(before, width, 3, padding=0 if parts == [] and seed == 9 else 1), nn.ReLU()]
        side = 4 if seed == 9 else 6
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(side * side * widths[-1], 5))


def fitted(
    method: us.Objective, labels: Tensor = LABELS, folder: Path | None = None, stop: int = 0, **more: object
) -> State:
    settings = TrainingSettings(
        **{"epochs": 4, "batch_size": 8, "lr": 0.02, "device": "cpu", "threads": 1, **more}  # type: ignore[arg-type]
    )

    def tick(done: int, total: int, loss: float | None) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    data = us.DataSet("made up", "train", INPUTS, labels)
    task = Task(conv(2, 3, 4, 4), conv(9, 6), method, method.source(0, 1), data, settings, TAPS, folder, tick)
    return launch(settings, fit, task)[0]


def test_the_worked_numbers() -> None:
    hint, guided = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.5, -1.0]])
    regressor = hint_regressor(guided, hint, "relu", 0.05)
    with torch.no_grad():
        regressor[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(regressor(guided), torch.tensor([[0.5, 0.0, 0.0]]))
    assert hint_distance(hint, regressor(guided)).item() == 2.125
    batch = us.Batch({}, torch.tensor([0]), torch.tensor([0]), 0.5)
    said = [us.Outputs({"clean": View(torch.tensor([z]))}) for z in ([1.0, 0.0, -1.0], [2.0, 0.0, 0.0])]
    terms = FitNets().terms(*said, batch)
    assert terms["hard"].item() == pytest.approx(0.407606, abs=5e-7)
    assert terms["soft"].item() / 4 == pytest.approx(1.055288, abs=5e-7)
    assert sum(terms.values()).item() == pytest.approx(4.628759, abs=5e-7)


def test_the_first_stage_trains_up_to_the_guided_layer_and_reads_no_label() -> None:
    before, after = conv(2, 3, 4, 4).state_dict(), fitted(FitNets(hint_share=1.0))
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == ["0.weight", "0.bias", "2.weight", "2.bias"]
    other = fitted(FitNets(hint_share=1.0), LABELS.flip(0), weight_decay=0.0)
    assert all(torch.equal(other[name], after[name]) for name in after)
    assert any(not torch.equal(a, b) for a, b in zip(
        fitted(FitNets()).values(), fitted(FitNets(), LABELS.flip(0)).values(), strict=True))  # fmt: skip


def test_the_second_stage_starts_from_what_the_first_has_learnt() -> None:
    """And trains everything."""
    before, after, apart = conv(2, 3, 4, 4).state_dict(), fitted(FitNets()), fitted(FitNets(hint_share=0.0))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(after["0.weight"], apart["0.weight"])


def test_without_hints_and_without_soft_targets_it_is_cross_entropy() -> None:
    bare = FitNets(hint_share=0.0, lambda_start=0.0, lambda_end=0.0)
    ours, theirs = fitted(bare), fitted(us.CrossEntropy())
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stop", [4, 8])
def test_a_training_resumed_in_either_stage_goes_on(tmp_path: Path, stop: int) -> None:
    """The regressor and what the optimiser knows of it are kept."""
    straight = fitted(FitNets())
    with pytest.raises(KeyboardInterrupt):
        fitted(FitNets(), folder=tmp_path, stop=stop)
    resumed = fitted(FitNets(), folder=tmp_path)
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_the_regressor_learns_and_is_not_in_the_student() -> None:
    loss = []
    for share in (0.0, 1.0):  # guided by a fixed regressor's gradient alone, or with it
        method = FitNets(hint_share=1.0, spread=0.05 if share else 1e-12)
        settings = TrainingSettings(epochs=15, batch_size=20, lr=0.02, device="cpu", threads=1)
        data = us.DataSet("made up", "train", INPUTS, LABELS)
        task = Task(conv(2, 3, 4, 4), conv(9, 6), method, method.source(0, 1), data, settings, TAPS, None)
        state, rows = launch(settings, fit, task)
        loss.append(rows[-1]["loss"] / rows[0]["loss"])
        assert list(state) == list(conv(2, 3, 4, 4).state_dict())
    assert loss[1] < 0.7


@pytest.mark.parametrize(
    ("student", "teacher", "kernel"), [((3, 6, 6), (6, 4, 4), (3, 3)), ((3, 6, 7), (6, 6, 4), (1, 4))]
)
def test_maps_go_through_a_convolution_without_padding(
    student: tuple[int, ...], teacher: tuple[int, ...], kernel: tuple[int, int]
) -> None:
    regressor = hint_regressor(torch.zeros(2, *student), torch.zeros(2, *teacher), "relu", 0.05)
    assert regressor[0].kernel_size == kernel
    assert regressor(torch.rand(5, *student)).shape == (5, *teacher)
    assert regressor[0].weight.abs().max() <= 0.05
    assert (regressor(torch.randn(5, *student)) >= 0).all()


def test_equal_shapes_need_no_regressor_and_tokens_a_linear_one() -> None:
    same = hint_regressor(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), "relu", 0.05)
    assert isinstance(same, nn.Identity)
    tokens = hint_regressor(torch.zeros(2, 7, 3), torch.zeros(2, 7, 5), "none", 0.05)
    assert tokens(torch.zeros(2, 7, 3)).shape == (2, 7, 5)
    tanh = hint_regressor(torch.zeros(2, 3), torch.zeros(2, 5), "tanh", 9.0)
    assert tanh(torch.randn(2, 3)).abs().max() <= 1


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((3, 4, 4), (3, 6, 6), "is smaller than the teacher's"),
        ((3, 4, 4), (5,), "must have the student's layout"),
        ((7, 3), (8, 3), "must have the student's layout"),
    ],
)
def test_shapes_that_no_regressor_joins_are_named(
    student: tuple[int, ...], teacher: tuple[int, ...], message: str
) -> None:
    with pytest.raises(us.InputError, match=message):
        hint_regressor(torch.zeros(2, *student), torch.zeros(2, *teacher), "relu", 0.05)


def test_lambda_falls_between_its_points() -> None:
    method = FitNets(hint_share=0.5, decay_start=0.2, decay_end=0.6)
    at = [0.5, 0.6, 0.7, 0.8, 0.9]
    assert [method.weight(p) for p in at] == pytest.approx([4.0, 4.0, 2.5, 1.0, 1.0])


def test_at_a_high_temperature_it_pulls_logits_together() -> None:
    """The soft term's gradient is (z_S - z_T) / (T^2 K), centred; there is no factor T^2."""
    s, t = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s.requires_grad_(True)
    batch = us.Batch({}, torch.arange(4), torch.arange(4), 0.9)
    said = us.Outputs({"clean": View(s)}), us.Outputs({"clean": View(t)})
    soft = FitNets(temperature=1000.0).terms(*said, batch)["soft"]
    (found,) = torch.autograd.grad(soft.sum(), s)
    apart = (s - t).detach()
    torch.testing.assert_close(
        found * 1000.0**2 * 5, apart - apart.mean(1, keepdim=True), rtol=1e-2, atol=1e-2
    )


def test_the_battery_with_a_regressor_of_weights() -> None:
    """The tiny model's two sides agree, so that the catalogue's run has an identity; here they are made to differ."""

    class Forced(FitNets):
        def build(self, student: us.Outputs, teacher: us.Outputs) -> nn.Module:
            return nn.Conv2d(4, 4, 1)

        zero_when = {**FitNets.zero_when, "hint": "least"}  # noqa: RUF012

    with pytest.raises(AssertionError) as caught:
        check_method(Forced())
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == ["equality"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hint_share": "1.5"}, "hint_share must be from 0 to 1"),
        ({"temperature": "0"}, "temperature must be"),
        ({"decay_end": "0"}, "decay_end must be above decay_start"),
        ({"activation": "gelu"}, "unknown fitnets.activation"),
        ({"teacher_layer": "1"}, "give both teacher_layer and student_layer"),
        ({"lambda_end": "-1"}, "lambda_end must be"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        make_method("fitnets", options)


def test_layers_may_be_fields_and_taps_win() -> None:
    method = FitNets(teacher_layer="1", student_layer="1")
    assert method.needs.places == {"hint": ("1", "1")}
    named = FitNets(teacher_layer="1", student_layer="3")
    settings = TrainingSettings(epochs=1, batch_size=20, device="cpu", threads=1)
    data = us.DataSet("made up", "train", INPUTS, LABELS)
    states = []
    for chosen, taps in ((named, {}), (method, TAPS), (FitNets(), TAPS)):
        task = Task(conv(2, 3, 4, 4), conv(9, 6), chosen, method.source(0, 1), data, settings, taps, None)
        states.append(launch(settings, fit, task)[0])
    for other in states[1:]:
        assert all(torch.equal(other[name], states[0][name]) for name in other)


def test_two_parts_of_a_sum_have_networks_of_their_own() -> None:
    twice = 0.5 * FitNets(hint_share=1.0) + us.SoftTargets() + 0.5 * FitNets(hint_share=1.0, spread=0.5)
    settings = TrainingSettings(epochs=1, batch_size=20, device="cpu", threads=1)
    data = us.DataSet("made up", "train", INPUTS, LABELS)
    task = Task(conv(2, 3, 4, 4), conv(9, 6), twice, twice.source(0, 1), data, settings, TAPS, None)
    (row,) = launch(settings, fit, task)[1]
    assert row["loss_hint"] != row["loss_hint_2"]
    assert row["loss_soft"] > 0
