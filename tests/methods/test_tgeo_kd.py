"""TGeo-KD: worked numbers, the closed form of the upper level's gradient, and what may not move."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.methods.weights.tgeo_kd import TGeoKD, Weigher
from understudy.models.look import frozen
from understudy.models.memo import Memo
from understudy.models.outputs import View
from understudy.objectives.divergences import cross_entropy, kl
from understudy.objectives.partner import Turn
from understudy.objectives.reduction import reduce_terms
from understudy.objectives.trilateral import SIZES, Controller, Geometry, trilateral
from understudy.sources import Cast
from understudy.testing import tiny_conv, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

T = torch.tensor([[2.0, 0.5, -1.0], [0.2, 1.5, 0.3], [-0.5, 0.0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1.0, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1])


def said(logits: Tensor) -> us.Outputs:
    return us.Outputs({"clean": View(logits)})


def assert_six(found: Tensor, value: list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(value, dtype=torch.float64), rtol=0, atol=6e-7)


def controller(classes: int = 3, seed: int = 0) -> Controller:
    torch.manual_seed(seed)
    return Controller(9 * classes, classes).double()


def test_the_worked_numbers() -> None:
    own = controller()
    own.note(T, LABELS)
    means = own.means(T, LABELS)
    assert_six(means[[0, 2]], [[0.479387, 0.405363, 0.115251], [0.079221, 0.130613, 0.790165]])
    assert_six(trilateral(T, S, LABELS, means)[0], [
        0.489749, 0.400973, 0.109278, 0.785597, 0.175290, 0.039113, 1, 0, 0, 0.479387, 0.405363, 0.115251,
        0.000107, 0.000019, 0.000036, 0.260356, 0.160779, 0.011942, 0.087526, 0.050933, 0.004923,
        0.045969, 0.030727, 0.001530, 0.271038, 0.164319, 0.013283,
    ])  # fmt: skip
    batch = us.Batch({"clean": torch.zeros(3, 2)}, torch.arange(3), LABELS)
    soft, hard = TGeoKD().losses(S, T, batch)
    assert_six(soft, [0.220732, 0.181467, 0.163243])
    assert_six(hard, [0.713862, 0.945911, 1.759915])
    noted = replace(batch, notes={"alpha": torch.tensor([0.2, 0.5, 0.8]).double()})
    loss = reduce_terms(TGeoKD().terms(said(S), said(T), noted), 3)[0]
    assert loss.item() == pytest.approx(0.553834, abs=6e-7)


def test_constant_weights_are_plain_distillation() -> None:
    batch = us.Batch({"clean": torch.zeros(3, 2)}, torch.arange(3), LABELS)
    soft, hard = 2.25 * kl(T, S, 1.5), cross_entropy(S, LABELS)
    for alpha in (0.0, 0.3, 1.0):
        noted = replace(batch, notes={"alpha": torch.full((3,), alpha).double()})
        loss = reduce_terms(TGeoKD().terms(said(S), said(T), noted), 3)[0]
        torch.testing.assert_close(loss, (alpha * soft + (1 - alpha) * hard).mean())


def test_a_teacher_who_states_the_truth_leaves_nothing_to_weigh() -> None:
    """KL to a one-hot target is cross-entropy at the same temperature, whatever alpha."""
    batch = us.Batch({"clean": torch.zeros(3, 2)}, torch.arange(3), LABELS)
    truth = 1e4 * nn.functional.one_hot(LABELS, 3).double()
    soft, hard = TGeoKD(temperature=1.0).losses(S, truth, batch)
    torch.testing.assert_close(soft, hard)


def test_class_means() -> None:
    own, p = controller(), T.softmax(1)
    torch.testing.assert_close(own.means(T, LABELS), p)  # nothing was counted in: each its own
    own.note(T, LABELS)
    means = own.means(T, LABELS)
    torch.testing.assert_close(means.sum(1), torch.ones(3).double())
    assert torch.equal(means[0], means[1])
    torch.testing.assert_close(means[2], p[2])  # the only example of its class
    own.note(S, torch.tensor([1, 2, 2]))
    torch.testing.assert_close(own.means(T, LABELS)[2], (p[2] + S.softmax(1)[0]) / 2)


@pytest.mark.parametrize("geometry", get_args(Geometry))
def test_features_follow_their_examples(geometry: Geometry) -> None:
    means = T.softmax(1).flip(0)
    found = trilateral(T, S, LABELS, means, geometry)
    assert found.shape == (3, SIZES[geometry] * 3)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        trilateral(T[order], S[order], LABELS[order], means[order], geometry), found[order]
    )
    wanting = S.clone().requires_grad_(True)
    assert not trilateral(T, wanting, LABELS, means, geometry).requires_grad


def test_parts_of_the_features() -> None:
    means = T.softmax(1).flip(0)
    full, star = (trilateral(T, S, LABELS, means, g) for g in ("full", "star"))
    t, s, g = T.softmax(1), S.softmax(1), nn.functional.one_hot(LABELS, 3).double()
    torch.testing.assert_close(full[:, 18:21], (t - s) ** 2)
    torch.testing.assert_close(star[:, 21:24], (means - s) * (g - s))
    torch.testing.assert_close(star[:, 24:], (t - s) * (g - s))
    assert not trilateral(T, T, LABELS, means)[:, 18:21].any()
    with pytest.raises((us.InputError, TypeError), match="vertices"):
        trilateral(T, S, LABELS, means, "vertixes")  # type: ignore[arg-type]


def turn(student: nn.Module, method: TGeoKD) -> tuple[Turn, Controller]:
    """A first turn in float64: 8 examples, 6 kept apart, five classes."""
    generator = torch.Generator().manual_seed(3)
    inputs, held = (torch.rand(n, 1, 6, 6, generator=generator, dtype=torch.float64) for n in (8, 6))
    labels, known = (torch.randint(5, (n,), generator=generator) for n in (8, 6))
    apart = us.Batch({"clean": held}, torch.arange(6), known)
    batch = us.Batch({"clean": inputs}, torch.arange(8), labels, parts={"validation": apart})
    teacher = tiny_mlp(seed=1).double()
    with frozen(teacher), torch.no_grad():
        heard = teacher(inputs)
        state = {name: value.clone() for name, value in student.state_dict().items()}
        logits = student(inputs)
        student.load_state_dict(state)
    torch.manual_seed(0)
    own = Controller(SIZES[method.geometry] * 5, 5).double()
    return Turn(batch, said(logits), said(heard), Cast(student, Memo(teacher)), Randomness(0)), own


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([x.flatten() for x in tensors])


def test_the_upper_gradient_is_the_closed_form() -> None:
    """-(eta / n) sum_i (d alpha_i / d omega) < G, grad(tau^2 KL_i - CE_i) >, G the stepped student's gradient."""
    method, student = TGeoKD(eta=0.3), tiny_mlp(seed=2).double()
    taking, own = turn(student, method)
    terms = Weigher(method=method).terms(own, taking)
    found = flat(torch.autograd.grad(terms["validation"].mean(), list(own.parameters())))

    batch, weights = taking.batch, list(student.parameters())
    alpha = method.weights(own, taking.student, taking.teacher, batch)
    soft, hard = method.losses(student(batch.clean), taking.teacher.logits, batch)
    each = [flat(torch.autograd.grad(x, weights, retain_graph=True)) for x in soft - hard]
    loss = (alpha.detach() * soft + (1 - alpha.detach()) * hard).mean()
    down = torch.autograd.grad(loss, weights)
    stepped = tiny_mlp(seed=2).double()
    with torch.no_grad():
        for parameter, gradient in zip(stepped.parameters(), down, strict=True):
            parameter -= 0.3 * gradient
    held = batch.parts["validation"]
    assert held.labels is not None
    at_end = cross_entropy(stepped(held.clean), held.labels).mean()
    upper = flat(torch.autograd.grad(at_end, list(stepped.parameters())))
    expected = torch.zeros_like(found)
    for value, direction in zip(alpha, each, strict=True):
        slope = flat(torch.autograd.grad(value, list(own.parameters()), retain_graph=True))
        expected -= 0.3 / 8 * (upper @ direction) * slope
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
    assert found.abs().max() > 1e-5


def test_where_both_terms_pull_alike_there_is_nothing_to_learn() -> None:
    class Alike(TGeoKD):
        def losses(self, logits: Tensor, teacher_logits: Tensor, batch: us.Batch) -> tuple[Tensor, Tensor]:
            _, hard = super().losses(logits, teacher_logits, batch)
            return hard + 1.0, hard

    method = Alike()
    taking, own = turn(tiny_mlp(seed=2).double(), method)
    terms = Weigher(method=method).terms(own, taking)
    found = torch.autograd.grad(terms["validation"].mean(), list(own.parameters()))
    assert flat(found).abs().max() < 1e-15


def test_a_turn_leaves_the_student_and_its_running_statistics_alone() -> None:
    student = tiny_conv(seed=2).double().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    taking, own = turn(student, TGeoKD())
    terms = Weigher(method=TGeoKD()).terms(own, taking)
    torch.autograd.grad(terms["validation"].mean(), list(own.parameters()))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())


def test_the_student_learns_by_the_weights_that_the_turn_left() -> None:
    method = TGeoKD(controller_lr=0.1)
    generator = torch.Generator().manual_seed(3)
    inputs, labels = torch.rand(8, 1, 6, 6, generator=generator), torch.randint(5, (8,), generator=generator)
    apart = us.Batch({"clean": inputs.flip(0)}, torch.arange(8), labels.flip(0))
    batch = us.Batch({"clean": inputs}, torch.arange(8), labels, parts={"validation": apart})
    student = tiny_conv(seed=2)
    player = Player(
        student, tiny_mlp(seed=1), method, method.source(0.0, 1.0), TrainingSettings(optimizer="sgd", lr=0.1)
    )
    with player:
        player.partners.ready(batch, player.cast())
        own = player.partners.networks["controller"]
        assert isinstance(own, Controller)
        first = {name: value.clone() for name, value in own.named_parameters()}
        counted = student.get_buffer("norm.num_batches_tracked").clone()
        shares = player.contribute(batch, 8, Randomness(0))
        assert player._last is not None
        shown, answered, heard = player._last
    assert not any(torch.equal(value, first[name]) for name, value in own.named_parameters())
    assert student.get_buffer("norm.num_batches_tracked") == counted + 1  # its own step alone
    alpha = method.weights(own, answered, heard, batch).detach()
    torch.testing.assert_close(shown.notes["alpha"], alpha)
    soft, _ = method.losses(answered.logits, heard.logits, batch)
    torch.testing.assert_close(shares["soft"], (alpha * soft).mean())
    assert ((alpha > 0) & (alpha < 1)).all()


def test_what_does_not_fit_is_named() -> None:
    for options, message in (
        ({"validation": "0"}, "validation must lie between 0 and 1"),
        ({"eta": "0"}, "eta must be a finite number above 0"),
        ({"geometry": "square"}, "unknown tgeo_kd.geometry 'square'"),
    ):
        with pytest.raises(us.InputError, match=message):
            make_method("tgeo_kd", options)
    taking, own = turn(tiny_mlp(seed=2).double(), TGeoKD())
    unlabelled = replace(taking, batch=replace(taking.batch, labels=None))
    with pytest.raises(us.InputError, match="TGeo-KD needs labels"):
        Weigher(method=TGeoKD()).terms(own, unlabelled)
    with pytest.raises(us.InputError, match="TGeo-KD needs a teacher"):
        Weigher(method=TGeoKD()).build(taking.batch, Cast(tiny_mlp(), None))


def test_another_geometry_passes_the_battery() -> None:
    us.testing.check_method(make_method("tgeo_kd", {"geometry": "angles", "temperature": "4"}))
