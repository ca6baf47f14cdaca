"""FD at a temperature: at 1 it is FD, elsewhere its loss is that of the logits divided by T, times T^2."""

from __future__ import annotations

import pytest
import torch

from understudy.data.batch import ATTACKED, CLEAN, Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.experiments.parts.tempered_fd import TemperedFD
from understudy.methods.robust.faithful_kd import FaithfulKD
from understudy.models.outputs import Outputs, View
from understudy.sources.base import Cast
from understudy.testing import TINY_SHAPE, tiny_mlp

TEACHER, STUDENT = torch.tensor([[1.0, 0.5, -0.5]]), torch.tensor([[0.2, 0.8, -0.3]])
BATCH = Batch({CLEAN: torch.zeros(1, 1)}, torch.arange(1))


def loss(method: TemperedFD | FaithfulKD, scale: float = 1.0) -> float:
    student, teacher = (Outputs({ATTACKED: View(scale * logits)}) for logits in (STUDENT, TEACHER))
    (found,) = method.terms(student, teacher, BATCH).values()
    return float(found)


def test_worked_number() -> None:
    assert loss(TemperedFD()) == pytest.approx(0.141435, abs=1e-6)
    assert loss(TemperedFD()) == loss(FaithfulKD())
    assert loss(TemperedFD(temperature=4.0)) == pytest.approx(16 * loss(TemperedFD(), 0.25), rel=1e-5)
    assert loss(TemperedFD(temperature=4.0)) != pytest.approx(loss(TemperedFD()), rel=0.01)


def test_it_attacks_as_fd_does() -> None:
    """At T = 1 the attacked view is FD's, bit for bit; at T = 4 it is another."""
    teacher, student = tiny_mlp(seed=1), tiny_mlp(seed=2)
    batch = Batch(
        {CLEAN: torch.rand(8, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))}, torch.arange(8)
    )
    shown = []
    for method in (FaithfulKD(), TemperedFD(), TemperedFD(temperature=0.05)):
        random = Randomness(0)
        random.begin(0)
        source = method.with_radius(0.1).source(0.0, 1.0)
        shown.append(source.show(batch, Cast(student, teacher), random).views[ATTACKED])
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    assert float((shown[2] - batch.clean).abs().max()) <= 0.1 + 1e-6


def test_what_it_needs() -> None:
    needs = TemperedFD().needs
    assert (needs.student, needs.teacher, needs.labels) == ((ATTACKED,), (ATTACKED,), False)
    with pytest.raises(InputError, match="temperature"):
        TemperedFD(temperature=0.0)
