"""Small batches worked by hand: RKD, PLD, SinKD and PS-KD to six digits, parts included."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.methods import make_method
from understudy.methods.logits.pld import pld_loss
from understudy.models.outputs import View
from understudy.objectives.ranking import label_first_order, ranking_loss
from understudy.objectives.reduction import reduce_terms
from understudy.objectives.refined_targets import refined_targets
from understudy.objectives.relations import angle_relation, distance_relation
from understudy.objectives.transport import sinkhorn_cost, sinkhorn_plan

T = torch.tensor([[2.0, 0.5, -1.0], [0.2, 1.5, 0.3], [-0.5, 0.0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1.0, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
RIGHT, WRONG = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 2])
POINTS_T = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
POINTS_S = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)


def assert_close(found: Tensor | float, value: float | list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(
        torch.as_tensor(found, dtype=torch.float64),
        torch.tensor(value, dtype=torch.float64), rtol=0, atol=6e-7,
    )  # fmt: skip


def loss(name: str, labels: Tensor = RIGHT, *, epoch: int = 0, epochs: int = 1, past: Tensor | None = None,
         **options: str) -> float:  # fmt: skip
    """The method's loss on the batch above; the points are its embeddings."""
    inputs = torch.zeros(3, 2)
    remembered = {} if past is None else {"confidence": past}
    batch = us.Batch({"clean": inputs}, torch.arange(3), labels, 0.5, epoch, epochs, remembered)
    student = us.Outputs({"clean": View(S, {"embedding": POINTS_S})})
    teacher = us.Outputs({"clean": View(T, {"embedding": POINTS_T})})
    return reduce_terms(make_method(name, options).terms(student, teacher, batch), 3)[0].item()


def cross_entropy(labels: Tensor) -> float:
    """In Python floats: nothing of the library in it."""
    rows = zip(S.tolist(), labels.tolist(), strict=True)
    return sum(math.log(sum(map(math.exp, row))) - row[y] for row, y in rows) / 3


def test_rkd() -> None:
    assert_close(distance_relation(POINTS_T, POINTS_S).mean(), 0.018484)
    assert_close(distance_relation(POINTS_T, POINTS_S).mean() * 9 / 6, 0.027727)
    assert_close(angle_relation(POINTS_T, POINTS_S).mean(), 0.003801)
    assert_close(angle_relation(POINTS_T, POINTS_S).sum() * 9, 0.102633)
    assert_close(loss("rkd", lambda_d="1", lambda_a="0", hard_weight="0"), 0.018484)
    assert_close(loss("rkd", lambda_d="0", lambda_a="1", hard_weight="0"), 0.003801)
    parts = distance_relation(POINTS_T, POINTS_S).mean() * 25 + angle_relation(POINTS_T, POINTS_S).mean() * 50
    assert_close(loss("rkd"), parts.item() + cross_entropy(RIGHT))


def test_pld() -> None:
    order = label_first_order(T, RIGHT)
    assert order.tolist() == [[0, 1, 2], [1, 2, 0], [2, 1, 0]]
    weights = T.softmax(1).gather(1, order)
    assert_close(
        weights,
        [[0.785597, 0.175290, 0.039113], [0.635435, 0.191389, 0.173176], [0.790165, 0.130613, 0.079221]],
    )
    first, second, third = torch.eye(3, dtype=torch.float64)
    for draw, terms in (
        (first, [0.713862, 1.045911, 0.559915]),
        (second, [0.241008, 0.913015, 0.913015]),
        (third, [0.0, 0.0, 0.0]),
    ):
        assert_close(ranking_loss(S, order, draw.expand(3, 3)), terms)
    assert_close(pld_loss(T, S, RIGHT), [0.603054, 0.839349, 0.561677])
    assert_close(loss("pld"), 0.668027)


def test_pld_where_the_teacher_is_wrong() -> None:
    assert label_first_order(T, WRONG)[0].tolist() == [1, 0, 2]
    assert_close(pld_loss(T, S, WRONG)[0], 0.318421)
    assert_close(loss("pld", WRONG), 0.573149)


def test_sinkd() -> None:
    p, q = (T / 2).softmax(1), (S / 2).softmax(1)
    cost = (q[:, None] - p[None, :]).abs().sum(-1)
    assert_close(
        cost, [[0.338271, 0.337141, 0.763213], [0.457563, 0.278965, 0.569477], [0.638050, 0.471165, 0.259374]]
    )
    plan = [[0.703160, 0.288491, 0.008178], [0.271257, 0.656439, 0.072182], [0.025584, 0.055069, 0.919641]]
    assert_close(sinkhorn_plan(cost, 0.1, 20), plan)
    assert_close(sinkhorn_cost(T, S, 2.0).sum(), 0.970510)
    assert_close(sinkhorn_cost(T, T, 2.0).sum(), 0.004095)
    assert_close(cost.trace(), 0.876610)
    assert_close(loss("sinkd", alpha="1", beta="3") - loss("sinkd", alpha="1", beta="0"), 0.970510)
    soft = loss("kd", temperature="2") / 4
    assert_close(loss("sinkd", beta="0"), 0.8 * soft + 0.2 * cross_entropy(RIGHT))


def test_ps_kd() -> None:
    past = T.softmax(1)
    targets = [[0.914239, 0.070116, 0.015645], [0.069270, 0.854174, 0.076556], [0.031688, 0.052245, 0.916066]]
    assert_close(refined_targets(RIGHT, past, 0.4), targets)
    assert_close(loss("ps_kd", epoch=149, epochs=300, past=past), 0.820421)
    assert_close(loss("ps_kd", epoch=149, epochs=300), 0.773229)


@pytest.mark.parametrize("name", ["rkd", "pld", "sinkd", "ps_kd"])
def test_a_missing_label_is_named(name: str) -> None:
    batch = us.Batch({"clean": torch.zeros(3, 2)}, torch.arange(3), past={"confidence": T.softmax(1)})
    said = us.Outputs({"clean": View(S, {"embedding": POINTS_S})})
    with pytest.raises(us.InputError, match="needs labels, and the batch has none"):
        make_method(name).terms(said, said, batch)
