"""The levels of a teacher's knowledge as methods: the battery, their reductions, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.fidelity.rescaling import rescaling
from understudy.methods import make_method
from understudy.methods.logits.understanding_kd import RELATIONS, TeacherLevels, WithRelations, head_weights
from understudy.methods.robust.kd import SD
from understudy.models.memo import Memo
from understudy.models.outputs import Outputs, View
from understudy.objectives.base import Objective
from understudy.objectives.teacher_levels import class_relations
from understudy.sources.base import AsIs, Cast
from understudy.testing import check_method, tiny_conv, tiny_mlp

GENERATOR = torch.Generator().manual_seed(0)
TEACHER, STUDENT = (2 * torch.randn(12, 5, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
LABELS = torch.arange(12) % 5


def said(logits: Tensor) -> Outputs:
    return Outputs({"clean": View(logits)})


def make_batch(labels: Tensor | None = LABELS, **notes: Tensor) -> us.Batch:
    return us.Batch({"clean": torch.zeros(12, 1)}, torch.arange(12), labels, notes=notes)


def gradient(method: Objective, student: Tensor = STUDENT, **notes: Tensor) -> Tensor:
    """Of the sum over examples, at the student's logits."""
    own = student.clone().requires_grad_()
    terms = method.terms(said(own), said(TEACHER), make_batch(**notes))
    return torch.autograd.grad(torch.stack(list(terms.values())).sum(), own)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"keep": "rel"},
        {"keep": "rel", "alpha": "1", "relation_temperature": "1"},
        {"keep": "pt+rel", "temperature": "3"},
        {"keep": "topk", "alpha": "1"},
    ],
)
def test_every_part_passes_the_battery(options: dict[str, str]) -> None:
    assert check_method(make_method("understanding_kd", options))


def test_all_that_the_teacher_says_is_kd() -> None:
    for temperature in (1.0, 4.0):
        ours = TeacherLevels(keep="topk", k=5, alpha=0.7, temperature=temperature)
        theirs = SD(alpha=0.7, temperature=temperature)
        torch.testing.assert_close(gradient(ours), gradient(theirs))


def test_a_teacher_that_knows_nothing_smooths_labels() -> None:
    own = STUDENT.clone().requires_grad_()
    nothing = said(torch.zeros(12, 5, dtype=torch.float64))
    terms = TeacherLevels(alpha=0.3).terms(said(own), nothing, make_batch())
    found = torch.stack(list(terms.values())).sum(0)
    smooth = make_method("label_smoothing", {"share": "0.3"}).terms(said(own), nothing, make_batch())[
        "smooth"
    ]
    torch.testing.assert_close(found, smooth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("share", "temperature"), [(0.5, 1.0), (0.9, 1.0), (0.08, 3.0)])
def test_the_gradient_at_the_label_is_omega_times_that_of_labels(share: float, temperature: float) -> None:
    """KD-pt pulls at the label exactly as KD does, each at the rate that `rescaling` gives (T^2 on its share)."""
    alone = STUDENT.softmax(1).gather(1, LABELS[:, None]) - 1
    soft = share * temperature**2  # the form of `rescaling` has 1 - lambda on the labels: weigh the sum alike
    whole = 1 - share + soft
    omega = rescaling(TEACHER, STUDENT, LABELS, mixing=soft / whole, temperature=temperature).omega * whole
    for method in (
        TeacherLevels(alpha=share, temperature=temperature),
        SD(alpha=share, temperature=temperature),
    ):
        found = gradient(method).gather(1, LABELS[:, None]) / alone
        torch.testing.assert_close(found.squeeze(1), omega)


def test_relations_are_the_teachers_and_the_same_for_a_class() -> None:
    teacher, student = tiny_conv(5, seed=1), tiny_conv(5, seed=2)
    batch = us.Batch({"clean": torch.rand(12, 1, 6, 6)}, torch.arange(12), LABELS)
    source = TeacherLevels(keep="rel").source(0.0, 1.0)
    assert source == WithRelations(0.3)
    shown = source.show(batch, Cast(student, Memo(teacher)), Randomness(0))
    head = teacher.get_submodule("head")
    assert isinstance(head, nn.Linear)
    torch.testing.assert_close(shown.notes[RELATIONS], class_relations(head.weight, 0.3)[LABELS])
    assert torch.equal(shown.clean, batch.clean)
    torch.testing.assert_close(shown.notes[RELATIONS][0], shown.notes[RELATIONS][5])
    rows = shown.notes[RELATIONS].double()
    other = make_batch(**{RELATIONS: rows})  # what the teacher says of an example changes nothing
    for keep, differs in (("rel", False), ("pt+rel", True)):
        method = TeacherLevels(keep=keep, alpha=1.0)  # type: ignore[arg-type]
        one, two = (method.terms(said(STUDENT), said(t), other)["soft"] for t in (TEACHER, -TEACHER))
        assert torch.equal(one, two) is not differs


def test_sources() -> None:
    assert TeacherLevels().source(0.0, 1.0) == AsIs()
    assert TeacherLevels(keep="topk").source(0.0, 1.0) == AsIs()
    assert TeacherLevels(keep="pt+rel", relation_temperature=2.0).source(0.0, 1.0) == WithRelations(2.0, True)


def test_what_is_refused() -> None:
    for options, match in [
        ({"keep": "sim"}, "keep"), ({"alpha": "1.5"}, "alpha"), ({"temperature": "0"}, "temperature"),
        ({"relation_temperature": "0"}, "relation_temperature"), ({"k": "0"}, "k must be"),
    ]:  # fmt: skip
        with pytest.raises(us.InputError, match=match):
            make_method("understanding_kd", options)
    with pytest.raises(us.InputError, match="need labels"):
        TeacherLevels().terms(said(STUDENT), said(TEACHER), make_batch(None))
    batch = us.Batch({"clean": torch.rand(12, 1, 6, 6)}, torch.arange(12), LABELS)
    with pytest.raises(us.InputError, match="can be looked into"):
        WithRelations(0.3).show(batch, Cast(tiny_mlp(), lambda x: TEACHER), Randomness(0))
    cast = Cast(tiny_mlp(), Memo(tiny_mlp(seed=1)))
    kept = (
        WithRelations(1e-4).show(batch, cast, Randomness(0)).notes[RELATIONS]
    )  # the label alone: fit for "rel"
    torch.testing.assert_close(kept, torch.eye(kept.shape[1])[LABELS])
    with pytest.raises(us.InputError, match="take a higher one"):
        WithRelations(1e-4, shared=True).show(batch, cast, Randomness(0))
    flat = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 8), nn.Unflatten(1, (8, 1)), nn.AvgPool1d(1), nn.Flatten()
    )
    with pytest.raises(us.InputError, match="gives 8 numbers"):
        head_weights(flat, 5)
    with pytest.raises(us.InputError, match="read off the last linear layer"):
        head_weights(nn.Sequential(nn.Flatten(), nn.ReLU()), 5)


def test_it_trains(tmp_path: Any) -> None:
    """From the command line's request, with a teacher's relations, for an epoch."""
    teacher = us.train("digits", "mlp[8]", epochs=1).student
    done = us.distill(
        teacher, "mlp[4]", "digits", method="understanding_kd", options={"keep": "rel"}, epochs=1
    )
    assert done.curves[-1]["loss_soft"] > 0
    with pytest.raises(us.InputError, match="cannot be stored"):
        us.distill(
            teacher, "mlp[4]", "digits", method="understanding_kd", options={"keep": "rel"}, epochs=1,
            stored=tmp_path / "answers",
        )  # fmt: skip
