"""LEAF: what its students can do that a copy of the relations cannot, and least squares where it is linear."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.fidelity.retrieval import nearest
from understudy.methods import make_method
from understudy.methods.embeddings.leaf import LEAF
from understudy.models.embedder import Unit
from understudy.models.outputs import View
from understudy.testing import check_method


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value(student: Tensor, teacher: Tensor, **options: bool) -> Tensor:
    batch = us.Batch({}, torch.arange(len(student)))
    said = us.Outputs({"clean": View(student)}), us.Outputs({"clean": View(teacher)})
    return LEAF(**options).terms(*said, batch)["embedding"]


@dataclass(frozen=True, kw_only=True)
class Gram(us.Method):
    """The control: the batch's cosines."""

    needs = us.Needs(vectors=True, whole_batch=True)

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        s, t = (F.normalize(side.logits, dim=1) for side in (student, teacher))
        return {"gram": (s @ s.T - t @ t.T).square().sum(1)}


def test_the_worked_loss() -> None:
    student, teacher = torch.ones(2, 2), torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert value(student, teacher).mean().item() == pytest.approx(0.302944, abs=5e-7)
    assert value(student, teacher, normalize=False).mean().item() == 7.5


def test_an_examples_value_is_its_own() -> None:
    student, teacher = drawn(0, 8, 4), drawn(1, 8, 4)
    whole, halves = value(student, teacher), [value(student[r], teacher[r]) for r in (slice(4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), whole)
    twice = value(student.repeat(2, 1), teacher.repeat(2, 1))
    torch.testing.assert_close(twice.mean(), whole.mean())


def test_both_options_pass_the_battery() -> None:
    check_method(LEAF(normalize=False), classes=3)


def data(inputs: Tensor, labels: Tensor | None = None) -> us.DataSet:
    return us.DataSet("rows", "train", inputs, labels, low=float("-inf"), high=float("inf"))


def test_a_linear_student_ends_at_least_squares() -> None:
    x = drawn(0, 64, 5)
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    run = us.distill(
        teacher, nn.Linear(5, 3), data(x), method=LEAF(normalize=False),
        epochs=400, batch_size=64, lr=0.05, optimizer="adam",
    )  # fmt: skip
    with torch.no_grad():
        wide = torch.cat([x, torch.ones(64, 1)], 1)
        best = torch.linalg.lstsq(wide, teacher(x)).solution
        torch.testing.assert_close(run.student(x), wide @ best, rtol=1e-3, atol=1e-3)


def test_labels_have_no_effect_and_no_class_is_spoken_of() -> None:
    x, labels = drawn(0, 64, 5), torch.arange(64) % 3
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(5, 6), Unit())
    curves, weights = [], []
    for given in (None, labels, labels.flip(0)):
        torch.manual_seed(1)
        run = us.distill(teacher, nn.Linear(5, 6), data(x, given), method="leaf", epochs=3, batch_size=16)
        curves.append(run.curves[-1])
        weights.append(run.student.weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert {"distance", "cosine"} <= set(curves[1])
    assert not {"train_accuracy", "agreement"} & set(curves[1])
    with torch.no_grad():
        said, told = run.student(x), teacher(x)
    assert curves[2]["cosine"] == pytest.approx(F.cosine_similarity(said, told).mean().item(), abs=1e-5)
    assert curves[2]["distance"] == pytest.approx((said - told).norm(dim=1).mean().item(), abs=1e-5)


def test_a_student_of_another_length_is_refused() -> None:
    with pytest.raises(us.InputError):
        us.distill(nn.Linear(5, 6), nn.Linear(5, 4), data(drawn(0, 16, 5)), method="leaf", epochs=1)


def test_only_leafs_students_can_search_the_teachers_index() -> None:
    """Digits, the right label at the nearest of the teacher's documents; the control is as good in its own space."""
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert train.labels is not None
    assert test.labels is not None
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16), Unit())
    head = nn.Linear(16, 10)
    nn.init.normal_(head.weight, std=3.0)
    us.train("digits", nn.Sequential(body, head), epochs=10, lr=4e-3, batch_size=64)
    x, asked = train.inputs(slice(None)), test.inputs(slice(None))

    def right(queries: Tensor, documents: Tensor) -> float:
        assert train.labels is not None
        return (train.labels[nearest(queries, documents)] == test.labels).double().mean().item()

    index = body(x)
    found = {}
    for name, method in (("leaf", make_method("leaf")), ("gram", Gram())):
        torch.manual_seed(1)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16))
        us.distill(body, student, data(x), method=method, epochs=12, batch_size=64, lr=4e-3)
        with torch.no_grad():
            found[name] = right(student(asked), student(x)), right(student(asked), index)
    assert found["leaf"][0] > 0.9
    assert found["leaf"][1] > 0.9
    assert found["gram"][0] > 0.9
    assert found["gram"][1] < 0.6


def test_it_is_run_by_name_on_images_whatever_their_classes(tmp_path: Path) -> None:
    """An embedder of 16 numbers teaches a network of the zoo on a set that declares ten classes."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Unit())
    run = us.distill(teacher, "mlp[8]", "digits", method="leaf", epochs=1, examples=200, out=tmp_path / "run")
    assert run.student(torch.rand(3, 1, 8, 8)).shape == (3, 16)
    assert us.load(tmp_path / "run").module(torch.rand(3, 1, 8, 8)).shape == (3, 16)


@pytest.mark.data
def test_the_example_reads_sentences(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """STS-B, teacher and student in vocabularies of their own; the teacher finds itself, but where it knows no word."""
    script = Path(__file__).parents[2] / "examples" / "leaf.py"
    monkeypatch.setenv("UNDERSTUDY_DATA", str(data_root))
    monkeypatch.setattr(
        sys, "argv", [str(script), "--texts", "--seeds", "1", "--epochs", "1", "--examples", "200"]
    )
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert "(5% 1.000), place 0; right" in said
    assert said.count("right: student-student") == 3
