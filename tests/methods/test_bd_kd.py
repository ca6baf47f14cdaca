"""BD-KD: its worked number, its reductions, and a teacher that learns along while the one given stays."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.online.bd_kd import BDKD, balanced, surer_student
from understudy.models.outputs import View
from understudy.objectives.divergences import cross_entropy, entropy, kl, reverse_kl

T = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
Y = torch.tensor([0, 1, 2])


def terms(method: us.Objective, s: Tensor, t: Tensor, labels: Tensor = Y) -> dict[str, Tensor]:
    views = us.Outputs({"clean": View(s)}), us.Outputs({"clean": View(t)})
    return dict(
        method.terms(*views, us.Batch({"clean": torch.zeros(len(s), 1)}, torch.arange(len(s)), labels))
    )


def test_the_worked_number() -> None:
    found = {name: float(values.mean()) for name, values in terms(BDKD(), S, T).items()}
    assert found["balanced"] == pytest.approx(0.538293, abs=1e-6)
    assert found["hard"] + found["balanced"] == pytest.approx(1.311522, abs=1e-6)
    assert found["teacher_hard"] + found["teacher_reverse"] == pytest.approx(0.497408, abs=1e-6)
    assert entropy(T).tolist() == pytest.approx([0.621585, 0.908242, 0.652826], abs=1e-6)
    assert not surer_student(T, S).any()


def test_a_balance_of_one_is_the_symmetric_divergence() -> None:
    assert torch.allclose(balanced(T, S, 1.0), kl(T, S) + reverse_kl(T, S))


@given(st.integers(0, 10_000), st.floats(1.0, 20.0), st.floats(0.5, 4.0))
@settings(max_examples=40, deadline=None)
def test_swapping_the_roles_changes_nothing(seed: int, delta: float, temperature: float) -> None:
    t, s = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.allclose(balanced(t, s, delta, temperature), balanced(s, t, delta, temperature))


def test_the_surer_student_is_spread_and_the_other_is_sharpened() -> None:
    sharp, flat = 3 * T, 0.1 * T
    assert torch.allclose(balanced(flat, sharp, 5.0), 5 * kl(flat, sharp) + reverse_kl(flat, sharp))
    assert torch.allclose(balanced(sharp, flat, 5.0), kl(sharp, flat) + 5 * reverse_kl(sharp, flat))


def test_neither_loss_reaches_the_other_network() -> None:
    s, t = S.clone().requires_grad_(), T.clone().requires_grad_()
    found = terms(BDKD(), s, t)
    for names, own, other in ((("hard", "balanced"), s, t), (("teacher_hard", "teacher_reverse"), t, s)):
        loss = torch.stack([found[name].sum() for name in names]).sum()
        gradient, none = torch.autograd.grad(loss, [own, other], allow_unused=True, retain_graph=True)
        assert gradient.any()
        assert none is None


def test_the_teachers_gradient_is_that_of_mutual_learning() -> None:
    """DML's teacher: CE(t, y) + KL(s || t), whose gradient at t is softmax(t) - onehot + softmax(t) - softmax(s)."""
    t = T.clone().requires_grad_()
    found = terms(BDKD(), S, t)
    (gradient,) = torch.autograd.grad(found["teacher_hard"].sum() + found["teacher_reverse"].sum(), t)
    one = nn.functional.one_hot(Y, 3).double()
    assert torch.allclose(gradient, 2 * T.softmax(1) - one - S.softmax(1), atol=1e-9)


def test_equal_networks_leave_cross_entropy() -> None:
    found = terms(BDKD(), S, S)
    assert not found["balanced"].any()
    assert not found["teacher_reverse"].any()
    assert torch.allclose(found["hard"], cross_entropy(S, Y))


def test_a_copy_learns_and_the_teacher_stays(tmp_path: Path) -> None:
    teacher = us.train("digits", "mlp[16]", epochs=1, examples=200).student
    before = copy.deepcopy(teacher.state_dict())
    us.distill(teacher, "mlp[8]", "digits", method="bd_kd", epochs=2, examples=200, out=tmp_path / "run")
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    learned = us.load(f"mlp[16]@{tmp_path}/run/players/teacher.safetensors", data="digits").module
    apart = [not torch.equal(a, b) for a, b in zip(teacher.parameters(), learned.parameters(), strict=True)]
    assert all(apart)


def test_new_weights_do_not_depend_on_those_given() -> None:
    method = BDKD(fresh=True)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        given_net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        torch.manual_seed(0)
        made.append(method.learner(given_net))
    assert torch.equal(made[0][0].weight, made[1][0].weight)
    assert torch.equal(BDKD().learner(given_net)[0].weight, given_net[0].weight)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_what_cannot_be_is_refused() -> None:
    for field, value in (("delta", ".5"), ("temperature", "0"), ("teacher_weight", "-1")):
        with pytest.raises(InputError, match=field):
            make_method("bd_kd", {field: value})
    with pytest.raises(InputError, match="new weights for the teacher's Odd"):
        BDKD(fresh=True).learner(Odd())
    with pytest.raises(InputError, match="train the teacher"):
        (BDKD() + BDKD()).learner(nn.Linear(2, 2))


def test_two_new_networks_of_one_shape_start_apart() -> None:
    teacher = us.train("digits", "mlp[8]", epochs=1, examples=100).student
    run = us.distill(teacher, "mlp[8]", "digits", method=BDKD(fresh=True), epochs=1, examples=100)
    assert run.curves[0]["loss_balanced"] > 1e-6
