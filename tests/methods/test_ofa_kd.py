"""OFA-KD: its numbers, what it reduces to, where its gradient goes, and that nothing of it stays."""

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
from understudy.methods.logits.ofa_kd import OFAKD
from understudy.methods.relations.rkd import RKD
from understudy.models.outputs import View
from understudy.testing import check_method
from understudy.training.loop import Task, fit
from understudy.training.player import Player
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

INPUTS = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 5
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


class Closed(nn.Module):
    """A teacher with no layer inside that could be tapped, and no linear one."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.weight = nn.Parameter(torch.randn(36, 5, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def perceptron(*widths: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, width in zip((36, *widths), widths, strict=False):
            layers += [nn.Linear(before, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], 5))


def fitted(
    method: us.Objective,
    folder: Path | None = None,
    stop: int = 0,
    taps: dict[str, tuple[str, str]] | None = None,
    student: nn.Module | None = None,
) -> tuple[State, list[dict[str, float]]]:
    settings = TrainingSettings(epochs=4, batch_size=8, lr=0.02, device="cpu", threads=1)

    def tick(done: int, total: int, loss: float | None) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    data = us.DataSet("made up", "train", INPUTS, LABELS)
    task = Task(
        student or perceptron(8, 7),
        Closed(),
        method,
        method.source(0, 1),
        data,
        settings,
        taps or {},
        folder,
        tick,
    )
    return launch(settings, fit, task)


def check_same(ours: State, theirs: State, **close: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, **(close or {"rtol": 0.0, "atol": 0.0}))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"hard": 0.861995, "soft": 0.952025}),
        ({"eps": 1.5}, {"hard": 0.861995, "enhanced": 1.145002}),
        ({"eps": 2.0, "w_gt": 0.5, "w_kd": 2.0}, {"hard": 0.430997, "enhanced": 3.190118}),
        ({"eps": 1.5, "form": "paper"}, {"enhanced": 2.230929}),
        ({"w_kd": 0.0}, {"hard": 0.861995}),
    ],
)
def test_the_worked_numbers(options: dict[str, object], expected: dict[str, float]) -> None:
    said = [us.Outputs({"clean": View(torch.tensor([z]))}) for z in ([1.0, 1.0, 0.0], [2.0, 1.0, 0.0])]
    batch = us.Batch({}, torch.arange(1), torch.tensor([0]))
    terms = OFAKD(stages=0, **options).terms(*said, batch)  # type: ignore[arg-type]
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, abs=2e-6)


def test_branches_add_their_losses() -> None:
    """Two branches that are known: linear maps of vectors, held against the formula."""
    features = {"stage1": torch.randn(4, 3), "stage2": torch.randn(4, 2)}
    s, t = torch.randn(4, 5), torch.randn(4, 5)
    own = nn.ModuleDict({"stage1": nn.Linear(3, 5), "stage2": nn.Linear(2, 5)})
    batch = us.Batch({}, torch.arange(4), torch.tensor([0, 1, 2, 4]), auxiliary=own)
    method = OFAKD(eps_branches="1, 2", w_ofa=0.5)
    found = method.terms(us.Outputs({"clean": View(s, features)}), us.Outputs({"clean": View(t)}), batch)
    assert batch.labels is not None
    hit = nn.functional.one_hot(batch.labels, 5)
    expected = torch.zeros(4)
    for eps, (name, x) in zip((1, 2), features.items(), strict=True):
        weights = (t.softmax(1) + hit) ** eps - hit
        expected -= 0.5 * (weights * own[name](x).log_softmax(1)).sum(1)
    torch.testing.assert_close(found["branches"], expected)


def test_without_branches_it_is_labels_and_distillation() -> None:
    ours, _ = fitted(OFAKD(stages=0))
    theirs, _ = fitted(us.CrossEntropy() + us.SoftTargets(temperature=1.0))
    check_same(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"stages": 0}, {"w_ofa": 0.0}])
def test_without_any_distillation_it_is_labels_alone(options: dict[str, float]) -> None:
    ours, _ = fitted(OFAKD(w_kd=0.0, **options))  # type: ignore[arg-type]
    check_same(ours, fitted(us.CrossEntropy())[0])


def test_branches_change_what_is_learnt_and_leave_the_student_as_it_was_built(tmp_path: Path) -> None:
    state, rows = fitted(OFAKD(), tmp_path)
    assert rows[-1]["loss_branches"] < rows[0]["loss_branches"]
    bare, _ = fitted(OFAKD(stages=0))
    assert state.keys() == bare.keys() == perceptron(8, 7).state_dict().keys()
    assert any(not torch.equal(state[name], bare[name]) for name in state)


def stage(method: us.Objective, student: nn.Module, teacher: nn.Module, **taps: tuple[str, str]) -> Player:
    settings = TrainingSettings(optimizer="sgd", lr=0.1, device="cpu")
    return Player(student, teacher, method, method.source(0, 1), settings, taps)


BATCH = us.Batch({"clean": INPUTS}, torch.arange(20), LABELS)


def random() -> object:
    from understudy.data.randomness import Randomness

    found = Randomness(0)
    found.begin(0, slice(None), None)
    return found


@pytest.mark.parametrize("stages", [0, 4])
def test_the_early_layers_hear_of_the_teacher_through_the_last_head_or_the_branches(stages: int) -> None:
    """With a head of zeros no gradient passes it: what is left comes from the branches."""
    student = perceptron(8, 7)
    with torch.no_grad():
        student[-1].weight.zero_()  # type: ignore[operator, union-attr]
    with stage(OFAKD(stages=stages, w_gt=0.0), student, Closed()) as player:
        player.contribute(BATCH, 20, random())  # type: ignore[arg-type]
        assert player.student[-1].weight.grad.any()  # type: ignore[index, union-attr]
        for layer in (1, 3):
            gradient = player.student[layer].weight.grad  # type: ignore[index, union-attr]
            assert (gradient is not None and bool(gradient.any())) == (stages > 0)


def test_the_teacher_is_not_tapped_and_no_hook_is_left() -> None:
    teacher, student = perceptron(6), perceptron(8, 7)
    seen: list[int] = []
    method = OFAKD()
    with stage(method, student, teacher) as player:
        for _ in range(2):
            player.contribute(BATCH, 20, random())  # type: ignore[arg-type]
            seen.append(sum(len(part._forward_hooks) for part in teacher.modules()))
            seen.append(sum(len(part._forward_hooks) for part in student.modules()))
    assert seen == [0, 2, 0, 2]
    assert not any(part._forward_hooks for part in student.modules())
    assert all(p.grad is None for p in teacher.parameters())
    others = player.others()
    assert list(others) == ["auxiliary"]
    assert list(others["auxiliary"].children()) == [
        others["auxiliary"]["stage1"],
        others["auxiliary"]["stage2"],
    ]  # type: ignore[index]


def test_a_training_resumed_goes_on(tmp_path: Path) -> None:
    straight, _ = fitted(OFAKD(eps=1.5))
    with pytest.raises(KeyboardInterrupt):
        fitted(OFAKD(eps=1.5), tmp_path, stop=5)
    check_same(fitted(OFAKD(eps=1.5), tmp_path)[0], straight)


def test_layers_found_named_or_tapped_are_the_same() -> None:
    found, _ = fitted(OFAKD())
    check_same(fitted(OFAKD(layers="2, 4"))[0], found)
    check_same(fitted(OFAKD(), taps={"stage2": ("", "4"), "stage1": ("", "2")})[0], found)
    one, _ = fitted(OFAKD(stages=1))
    check_same(fitted(OFAKD(layers="4"))[0], one)
    assert any(not torch.equal(one[name], found[name]) for name in found)


def test_it_stands_beside_objectives_that_tap_both_models() -> None:
    taps = {"hint": ("1", "3")}
    settings = TrainingSettings(epochs=1, batch_size=20, lr=0.02, device="cpu", threads=1)
    data = us.DataSet("made up", "train", INPUTS, LABELS)
    both = OFAKD() + 0.5 * RKD() + FitNets(hint_share=1.0)
    task = Task(perceptron(8, 7), perceptron(6), both, both.source(0, 1), data, settings, taps, None)
    (row,) = launch(settings, fit, task)[1]
    assert {"loss_hint", "loss_branches", "loss_soft"} <= row.keys()
    with stage(both, perceptron(8, 7), perceptron(6), **taps) as player:
        player.contribute(BATCH, 20, random())  # type: ignore[arg-type]
    assert not any(part._forward_hooks for part in player.student.modules())


@pytest.mark.parametrize("spec", ["cnn[3,4,5]", "cnn_large[3,4,5]", "resnet8[4]", "vit[2,8,2,2]", "mlp[6,5]"])
def test_students_of_every_kind_learn_from_a_teacher_of_another(spec: str) -> None:
    run = us.distill(
        Closed(), spec, us.DataSet("made up", "train", INPUTS, LABELS), method="ofa_kd", epochs=2
    )
    assert run.curves[-1]["loss_branches"] > 0


@pytest.mark.parametrize("options", [{"eps": 1.5, "eps_branches": "1,2"}, {"form": "paper", "eps": 1.3}])
def test_the_battery_with_two_stages_of_maps(options: dict[str, object]) -> None:
    check_method(OFAKD(**options), taps={"stage1": "norm", "stage2": "mid"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": "0"}, "eps must be a finite number above 0"),
        ({"temperature": "0"}, "temperature must be"),
        ({"stages": "-1"}, "stages must be"),
        ({"w_gt": "-1"}, "w_gt must be"),
        ({"width": "0"}, "width must be"),
        ({"class_tokens": "-1"}, "class_tokens must be"),
        ({"form": "text"}, "unknown ofa_kd.form"),
        ({"eps_branches": "1,x"}, "eps_branches must be a number"),
        ({"eps_branches": "1,0"}, "eps_branches must be a finite number above 0"),
        ({"layers": "a,,b"}, "layers must be names separated by commas"),
        ({"form": "paper", "w_kd": "0", "stages": "0"}, "nothing is left to learn from"),
        ({"w_gt": "0", "w_kd": "0", "w_ofa": "0"}, "nothing is left to learn from"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        make_method("ofa_kd", options)


def test_what_does_not_suit_the_student_is_named() -> None:
    with pytest.raises(
        us.InputError, match=r"eps_branches must be one number or 2, one a stage; found \[1.0, 2.0, 3.0\]"
    ):
        fitted(OFAKD(eps_branches="1,2,3"))
    with pytest.raises(us.InputError, match="unknown layer 'nine'"):
        stage(OFAKD(layers="nine"), perceptron(8, 7), Closed())
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    with pytest.raises(us.InputError, match="no stage was found"):
        fitted(OFAKD(), student=student)
    assert not any(part._forward_hooks for part in student.modules())


def test_it_stands_ahead_of_nothing() -> None:
    """A view one step ahead has no features: refused, as it is for features that are named."""

    class Ahead(OFAKD):
        @property
        def needs(self) -> us.Needs:
            return us.Needs(student=("clean", "ahead"), ahead=("ahead",)) | super().needs

    with pytest.raises(us.InputError, match="one step ahead have no features"):
        stage(Ahead(), perceptron(8, 7), Closed())
