"""What RKD does not see, and what its gradient therefore leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.objectives.relations import angle_relation, distance_relation
from understudy.sources import AsIs
from understudy.testing import TINY_SHAPE, tiny_conv, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

Relation = Callable[[Tensor, Tensor], Tensor]
BOTH = pytest.mark.parametrize("relation", [distance_relation, angle_relation])


def points(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(teacher: Tensor, student: Tensor) -> tuple[float, float]:
    """The two losses pair by pair and triple by triple."""
    count = len(teacher)
    every = range(count)

    def huber(a: Tensor, b: Tensor) -> float:
        return F.smooth_l1_loss(a, b).item()

    def scaled(x: Tensor) -> dict[tuple[int, int], Tensor]:
        lengths = {(i, j): (x[i] - x[j]).norm() for i in every for j in every if i != j}
        mean = torch.stack(list(lengths.values())).mean()
        return {pair: length / mean for pair, length in lengths.items()}

    def cosine(x: Tensor, i: int, j: int, k: int) -> Tensor:
        return F.cosine_similarity(x[j] - x[i], x[k] - x[i], dim=0)

    t, s = scaled(teacher), scaled(student)
    distance = sum(huber(t[pair], s[pair]) for pair in t) / count**2
    triples = [(i, j, k) for i in every for j in every for k in every if i not in (j, k)]
    angle = sum(huber(cosine(teacher, *at), cosine(student, *at)) for at in triples) / count**3
    return distance, angle


def test_values_are_those_of_loops_over_pairs_and_triples() -> None:
    teacher, student = points(6, 5, 0), 3 * points(6, 2, 1).abs() ** 2
    distance, angle = by_loops(teacher, student)
    assert distance_relation(teacher, student).mean().item() == pytest.approx(distance, rel=1e-10)
    assert angle_relation(teacher, student).mean().item() == pytest.approx(angle, rel=1e-10)
    assert min(distance, angle) > 0.01


@BOTH
def test_where_it_lies_how_large_and_in_how_many_dimensions_plays_no_part(relation: Relation) -> None:
    teacher = points(7, 4, 0)
    turn, _ = torch.linalg.qr(points(9, 9, 2))
    other = 5.0 * teacher @ turn[:4] + 3.0
    assert other.shape == (7, 9)
    assert relation(teacher, other).max() < 1e-20
    student = points(7, 3, 1)
    plain = relation(teacher, student)
    assert plain.min() > 1e-3
    torch.testing.assert_close(relation(teacher, 0.01 * student + 2.0), plain)
    torch.testing.assert_close(relation(20.0 * teacher, student), plain)


@BOTH
def test_the_gradient_neither_moves_nor_scales_the_batch(relation: Relation) -> None:
    student = points(6, 3, 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(relation(points(6, 5, 0), student).mean(), student)
    assert gradient.abs().max() > 1e-4
    assert gradient.sum(0).abs().max() < 1e-15
    assert abs((gradient * student).sum().item()) < 1e-15


@BOTH
def test_two_examples_teach_nothing(relation: Relation) -> None:
    student = points(2, 3, 1).requires_grad_(True)
    values = relation(points(2, 5, 0), student)
    assert values.max() < 1e-30  # but for the rounding of a cosine of 1
    assert torch.autograd.grad(values.sum(), student)[0].abs().max() < 1e-15


@BOTH
@pytest.mark.parametrize("rows", [[0, 0, 1, 2], [0, 0, 0, 0], [0]])
def test_points_that_coincide_give_finite_values_and_gradients(relation: Relation, rows: list[int]) -> None:
    student = points(3, 3, 1)[rows].requires_grad_(True)
    for teacher in (points(4, 2, 0)[: len(rows)], points(3, 2, 0)[rows]):
        values = relation(teacher, student)
        assert values.isfinite().all()
        assert torch.autograd.grad(values.sum(), student)[0].isfinite().all()


@BOTH
def test_the_teachers_side_is_a_constant_and_autocast_takes_no_digits(relation: Relation) -> None:
    teacher, student = points(6, 64, 0).requires_grad_(True), points(6, 64, 1).requires_grad_(True)
    assert torch.autograd.grad(relation(teacher, student).sum(), teacher, allow_unused=True) == (None,)
    single = relation(teacher.float(), student.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(relation(teacher.float(), student.float()), single)


@BOTH
def test_embeddings_that_do_not_fit_are_refused(relation: Relation) -> None:
    with pytest.raises((us.InputError, TypeError)):
        relation(points(3, 2, 0), points(4, 2, 0))
    with pytest.raises((us.InputError, TypeError)):
        relation(points(3, 2, 0), torch.ones(3, 2, dtype=torch.int64))


def test_the_embedding_is_trained_without_labels_and_the_head_is_not() -> None:
    teacher, inputs = (
        tiny_mlp(seed=1),
        torch.rand(12, *TINY_SHAPE, generator=torch.Generator().manual_seed(0)),
    )
    batch = us.Batch({"clean": inputs}, torch.arange(12))
    method = make_method("rkd", {"hard_weight": "0"})
    losses = []
    for taps in ({}, {"embedding": ("mid", "flat")}):
        student = tiny_conv(seed=2)
        head = student.get_submodule("head").weight.clone()
        player = Player(
            student, teacher, method, AsIs(), TrainingSettings(lr=0.01, schedule="constant"), taps
        )
        with player:
            for _ in range(30):
                losses.append(sum(player.contribute(batch, 12, Randomness(0)).values()).item())
                player.step(0.0)
        assert torch.equal(student.get_submodule("head").weight, head)
    assert losses[:30] == losses[30:]  # what enters the head, named or not
    assert losses[29] < 0.5 * losses[0]
