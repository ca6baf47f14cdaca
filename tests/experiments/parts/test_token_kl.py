"""Word-level distillation: the numbers worked in float64, its limits, and that it reads no label."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.data.text import from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.experiments.parts.token_kl import TokenKL
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.language.gkd import GKD
from understudy.models.outputs import View
from understudy.testing import tiny_lm
from understudy.training.method import Method

T, S = torch.tensor([[1.0, 2, 0]]).double(), torch.tensor([[0.5, 0.5, 1]]).double()


def value(method: Method, t: Tensor, s: Tensor) -> Tensor:
    """The term at one counted position a sequence: t, s (N, V) -> (N,)."""
    views = {"clean": torch.zeros(len(t), 2, dtype=torch.int64)}
    mask = torch.tensor([[True, False]]).expand(len(t), 2)
    batch = us.Batch(views, torch.arange(len(t)), masks={"clean": mask})
    student, teacher = (us.Outputs({"clean": View(torch.stack((x, torch.zeros_like(x)), 1))}) for x in (s, t))
    return method.terms(student, teacher, batch)["soft"]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (TokenKL(), 0.416966),
        (TokenKL(kind="reverse_kl"), 0.516955),
        (TokenKL(temperature=2.0), 0.489191),
        (TokenKL(kind="reverse_kl", temperature=2.0), 0.528764),
        (GKD(beta=0.5), 0.108365),
        (GKD(beta=0.1), 0.037524),  # the mixture has a tenth of the teacher, as the formula says
    ],
)
def test_the_worked_numbers(method: Method, expected: float) -> None:
    assert value(method, T, S).item() == pytest.approx(expected, abs=5e-7)


def test_it_goes_over_into_the_squared_difference_of_logits() -> None:
    apart = T.sub(T.mean()) - S.sub(S.mean())
    for kind in ("forward_kl", "reverse_kl"):
        hot = value(TokenKL(kind=kind, temperature=1e4), T, S).item()
        assert hot == pytest.approx(float(apart.square().sum() / 6), rel=1e-3)
        assert value(TokenKL(kind=kind), T + 3.0, S - 5.0).item() == pytest.approx(
            value(TokenKL(kind=kind), T, S).item()
        )
    assert value(TokenKL(), T, S).item() == value(TokenKL(kind="reverse_kl"), S, T).item()


@pytest.mark.parametrize("method", [TokenKL(), TokenKL(kind="reverse_kl", temperature=2.0)])
def test_a_copy_of_the_teacher_is_left_alone_whatever_the_labels(method: TokenKL) -> None:
    tokenizer = train_tokenizer([])
    data = from_pairs([(f"{n}=", str(n % 7)) for n in range(8)], tokenizer)
    teacher = tiny_lm(tokenizer.size, seed=2)
    request = TrainingRequest(
        command="distill", data=data, model=copy.deepcopy(teacher), teacher=teacher, method=method, epochs=2,
        batch_size=4, lr=0.1,
    )  # fmt: skip
    run = run_training(request, device="cpu")
    assert [row["loss"] for row in run.curves] == [0.0, 0.0]
    for name, weight in run.student.state_dict().items():
        assert torch.equal(weight, teacher.state_dict()[name])


def test_what_is_refused() -> None:
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="temperature"):
            TokenKL(temperature=temperature)
