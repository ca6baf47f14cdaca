"""e2KD: its worked number, GradCAM by hand, and the gradient that must go through a gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.interpretable.e2kd import E2KD
from understudy.models.outputs import View
from understudy.objectives.base import MAP
from understudy.objectives.divergences import kl
from understudy.objectives.explanations import grad_cam, unlike
from understudy.testing import tiny_conv


def answer(net: nn.Sequential, x: Tensor) -> View:
    features = net[1](net[0](x))
    return View(net[2:](features), {MAP: features})


def nets() -> tuple[nn.Sequential, nn.Sequential]:
    return tiny_conv(seed=1).eval(), tiny_conv(seed=2).eval()


INPUTS = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_the_worked_number() -> None:
    one, other = (torch.tensor(v).reshape(1, 2, 2) for v in ([1.0, 2.0, 0.0, 0.0], [2.0, 1.0, 0.0, 1.0]))
    assert float(unlike(one, other)) == pytest.approx(0.269703, abs=1e-6)
    assert float(unlike(3 * one, 0.1 * other)) == pytest.approx(0.269703, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_unlike_is_one_minus_the_cosine(seed: int) -> None:
    a, b = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu()
    found = unlike(a, b)
    alive = a.flatten(1).any(1) & b.flatten(1).any(1)
    reference = 1 - torch.cosine_similarity(a.flatten(1), b.flatten(1))
    assert torch.allclose(found[alive], reference[alive], atol=1e-12)
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()
    assert (unlike(a, a) < 1e-15).all()


def test_dead_maps() -> None:
    zero, one = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert (float(unlike(zero, one)), float(unlike(one, zero)), float(unlike(zero, zero))) == (1.0, 1.0, 0.0)
    asked = zero.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(unlike(asked, one).sum() + asked.sum(), asked)
    assert gradient.isfinite().all()


def test_maps_of_two_sizes_are_compared_at_the_first() -> None:
    ramp = torch.linspace(0, 1, 8).expand(1, 8, 8)
    assert (
        float(unlike(torch.nn.functional.interpolate(ramp[:, None], (4, 4), mode="bilinear")[:, 0], ramp))
        < 1e-9
    )


def test_grad_cam_by_hand() -> None:
    net, _ = nets()
    view, classes = answer(net, INPUTS), torch.tensor([0, 1, 2, 3, 4])
    found = grad_cam(view.logits, view.features[MAP], classes)
    for i in range(5):
        leaf = view.features[MAP][i : i + 1].detach().requires_grad_()
        (slope,) = torch.autograd.grad(net[2:](leaf)[0, classes[i]], leaf)
        expected = (slope.mean((2, 3), keepdim=True) * leaf).sum(1).relu()[0]
        assert torch.allclose(found[i], expected, atol=1e-6)
    assert not found.requires_grad


def outputs(student: nn.Sequential, teacher: nn.Sequential) -> tuple[us.Outputs, us.Outputs, us.Batch]:
    said = (us.Outputs({"clean": answer(net, INPUTS)}) for net in (student, teacher))
    return (*said, us.Batch({"clean": INPUTS}, torch.arange(5)))


def test_an_equal_student_has_nothing_to_learn() -> None:
    teacher, _ = nets()
    terms = E2KD().terms(*outputs(teacher, teacher))
    assert not terms["soft"].any()
    assert (terms["explanation"] < 1e-6).all()


def test_without_weight_it_is_soft_distillation() -> None:
    teacher, student = nets()
    s, t, batch = outputs(student, teacher)
    terms = E2KD(weight=0.0, temperature=2.0).terms(s, t, batch)
    assert list(terms) == ["soft"]
    assert torch.equal(terms["soft"], 4 * kl(t.logits, s.logits, 2.0))
    assert E2KD(weight=0.0).needs == us.Needs()


def test_the_explanation_reaches_the_students_weights_and_not_the_teachers() -> None:
    teacher, student = nets()
    s, t, batch = outputs(student, teacher)
    value = E2KD().terms(s, t, batch)["explanation"].sum()
    first = [student[0].weight, student[4].weight]
    gradients = torch.autograd.grad(value, [*first, teacher[0].weight], allow_unused=True)
    assert gradients[0].any()
    assert gradients[1].any()  # the head: reached only through the gradient inside the map
    assert gradients[2] is None


def test_scaling_the_logits_leaves_the_explanation() -> None:
    teacher, student = nets()
    s, t, batch = outputs(student, teacher)
    before = E2KD().terms(s, t, batch)["explanation"]
    louder = us.Outputs({"clean": View(7 * s.logits, s.features)})
    assert torch.allclose(E2KD().terms(louder, t, batch)["explanation"], before, atol=1e-5)


def test_it_trains_convolutional_networks_and_refuses_others() -> None:
    teacher = us.train("digits", "cnn[4,8,8]", epochs=1, examples=100).student
    run = us.distill(teacher, "cnn[4,4,8]", "digits", method="e2kd", epochs=1, examples=100)
    assert run.curves[-1]["loss_explanation"] > 0
    with pytest.raises(InputError, match="no convolution"):
        us.distill(teacher, "mlp[8]", "digits", method="e2kd", epochs=1, examples=100)


def test_what_cannot_be_is_refused() -> None:
    for field, value in (("temperature", "0"), ("weight", "-1")):
        with pytest.raises(InputError, match=field):
            make_method("e2kd", {field: value})
    logits, maps = torch.zeros(2, 3), torch.zeros(2, 4, 3, 3)
    with pytest.raises(InputError, match="graph"):
        grad_cam(logits, maps, torch.zeros(2, dtype=torch.int64))
