from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.methods.graphs.ff_g2m import FFG2M
from understudy.models.outputs import Outputs, View
from understudy.objectives.base import Objective
from understudy.objectives.reduction import reduce_terms

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
TEACHER = torch.tensor([[2.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 0], [0, 0], [0, 1]], dtype=torch.float64)
LABELS = torch.tensor([0, -1, -1])


def loss(method: Objective, student: Tensor = STUDENT, edges: Tensor | None = PATH) -> float:
    """What training would make of the method on the path of three nodes, of which the first bears a label."""
    batch = Batch({"clean": torch.zeros(3, 1)}, torch.arange(3), LABELS, edges=edges)
    terms = method.terms(Outputs({"clean": View(student)}), Outputs({"clean": View(TEACHER)}), batch)
    return reduce_terms(terms, 3)[0].item()


def test_worked_number() -> None:
    assert loss(us.CrossEntropy()) == pytest.approx(0.313262, abs=5e-7)
    assert loss(FFG2M(lambda_hard=0.4, tau=1.5)) == pytest.approx(0.282875, abs=5e-7)
    parts = 0.6 * 0.155446, 0.6 * 0.107171, 0.4 * 0.313262
    assert loss(FFG2M(high=0.0)) == pytest.approx(parts[0] + parts[2], abs=1e-6)
    assert loss(FFG2M(low=0.0)) == pytest.approx(parts[1] + parts[2], abs=1e-6)
    assert loss(FFG2M(low=2.0, high=0.5, lambda_hard=0.0)) == pytest.approx(
        2 * 0.155446 + 0.5 * 0.107171, abs=1e-6
    )


def test_all_weight_on_the_labels_leaves_a_plain_network() -> None:
    assert loss(FFG2M(lambda_hard=1.0)) == pytest.approx(loss(us.CrossEntropy()), abs=1e-12)


def test_without_edges_it_is_distillation_node_by_node() -> None:
    none = torch.zeros(2, 0, dtype=torch.int64)
    plain = 0.4 * us.CrossEntropy() + 0.6 * us.SoftTargets()
    assert loss(FFG2M(), edges=none) == pytest.approx(loss(plain, edges=none), abs=1e-12)


def test_labels_are_needed_only_where_they_weigh() -> None:
    assert FFG2M().needs.labels
    assert not FFG2M(lambda_hard=0.0).needs.labels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_hard": 1.5}, "lambda_hard must be from 0 to 1, found 1.5"),
        ({"tau": 0.0}, "tau must be a finite number above 0"),
        ({"low": -1.0}, "low must be a finite number of at least 0"),
        ({"high": -1.0}, "high must be"),
        ({"low": 0.0, "high": 0.0}, "nothing of the teacher is left"),
    ],
)
def test_weights_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FFG2M(**options)


def test_a_batch_that_is_no_graph_is_refused() -> None:
    with pytest.raises(InputError, match="ff_g2m needs a graph"):
        loss(FFG2M(), edges=None)


def blocks(split: str) -> DataSet:
    """Three groups of 30 nodes, edges within each; one node's features tell its group badly. Two labels a group."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(90) % 3
    features = 0.2 + 0.5 * torch.rand(90, 12, generator=generator)
    features[torch.arange(90), group] += 0.25
    same = group[:, None] == group[None, :]
    one = (same & (torch.rand(90, 90, generator=generator) < 0.3)).triu(1).nonzero().T
    labels = torch.full((90,), -1)
    rows = slice(0, 6) if split == "train" else slice(6, 90)
    labels[rows] = group[rows]
    edges = torch.cat((one, one.flip(0)), 1)
    return DataSet("blocks", split, features, labels, classes=3, partly=True, edges=edges)


def right(model: nn.Module, data: DataSet) -> float:
    assert data.labels is not None
    with torch.no_grad():
        said = model(data.inputs(slice(None))).argmax(1)
    there = data.labels >= 0
    return (said == data.labels)[there].double().mean().item()


def test_a_student_without_edges_learns_what_the_graph_tells() -> None:
    train, test = blocks("train"), blocks("test")
    plain = {"lr": 0.04, "schedule": "constant", "epochs": 30}
    teacher = us.train(train, "gcn[16,2,50]", **plain)
    assert right(teacher.student, test) > 0.95
    labels_alone = us.train(train, "dropout_mlp[16,2,20]", **plain).student
    run = us.distill(
        teacher.student, "dropout_mlp[16,2,20]", train, method="ff_g2m",
        options={"lambda_hard": "0.2"}, **plain,
    )  # fmt: skip
    assert right(run.student, test) > right(labels_alone, test) + 0.2
    last = run.curves[-1]
    assert last["train_accuracy"] > 0.9
    assert {"loss_low", "loss_high", "loss_hard"} <= set(last)
    x = test.inputs(slice(None))
    with torch.no_grad():
        assert torch.allclose(run.student(x[:1]), run.student(x)[:1], atol=1e-6)


def test_two_trainings_on_a_graph_from_one_seed_are_the_same() -> None:
    first, second = (us.train(blocks("train"), "gcn[8,2,50]", epochs=4, seed=3) for _ in range(2))
    assert first.curves[-1]["loss"] == second.curves[-1]["loss"]
    for a, b in zip(first.student.parameters(), second.student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_cannot_be_a_graph_training_is_refused() -> None:
    with pytest.raises(InputError, match="'ff_g2m' needs a graph, and data set 'plain' has no edges"):
        us.distill(
            nn.Linear(2, 3), "mlp[4]", DataSet("plain", "train", torch.rand(5, 2), torch.arange(5) % 3),
            method="ff_g2m",
        )  # fmt: skip
    with pytest.raises(InputError, match="a graph is one batch on one device"):
        us.train(blocks("train"), "gcn[8,2,50]", epochs=1, accumulate=2)
    with pytest.raises(InputError, match="'pld' needs every label, and 'blocks' lacks some"):
        us.distill(nn.Linear(12, 3), "mlp[4]", blocks("train"), method="pld", epochs=1)
    us.distill(nn.Linear(12, 3), "mlp[4]", blocks("train"), method="kd", options={"alpha": "0.5"}, epochs=1)
    with pytest.raises(InputError, match="gcn is for a graph"):
        us.train(DataSet("plain", "train", torch.rand(5, 2), torch.arange(5) % 3), "gcn", epochs=1)
