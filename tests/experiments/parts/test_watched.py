"""A distillation that is looked at: it is the same, and it shows what it says."""

from __future__ import annotations

import copy

import torch
from torch import nn

from understudy.data.loader import in_order
from understudy.data.randomness import Randomness
from understudy.experiments.parts.prompted_language import as_data, different_prompts, oracle_of, texts_by
from understudy.experiments.parts.watched import WatchedGKD, spaced
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.language.gkd import GKD
from understudy.sources.base import Cast
from understudy.sources.rolled_out import Writer


def ignored(step: int, student: nn.Module) -> None:
    """Not looked at."""


def test_looking_changes_nothing() -> None:
    teacher, start = oracle_of(5, 2, (8,), 3.0, 0), oracle_of(5, 2, (6,), 1.0, 1).requires_grad_(True)
    prompts = different_prompts(20, 5, 2, torch.Generator().manual_seed(0))
    data = as_data(texts_by(teacher, prompts, 4, torch.Generator().manual_seed(1)), 2, 5)
    seen: list[tuple[int, float]] = []

    def look(step: int, student: nn.Module) -> None:
        assert not torch.is_inference_mode_enabled()
        seen.append((step, sum(float(p.detach().sum()) for p in student.parameters())))

    weights = []
    for method in (
        GKD(lam=1.0, beta=0.0),
        WatchedGKD(lam=1.0, beta=0.0, look=look, at=frozenset((0, 3, 5)), steps=6),
    ):
        request = TrainingRequest(
            command="distill", data=data, model=copy.deepcopy(start), teacher=teacher, method=method,
            epochs=3, batch_size=10, lr=0.01,
        )  # fmt: skip
        weights.append(run_training(request, device="cpu").student.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert [step for step, _ in seen] == [0, 3, 5]
    assert len({value for _, value in seen}) == 3
    assert seen[0][1] == sum(float(p.detach().sum()) for p in start.parameters())


def test_who_writes() -> None:
    """Offline the responses stay, online they are others at each step, and the prompts stay."""
    teacher, student = oracle_of(5, 2, (8,), 3.0, 0), oracle_of(5, 2, (8,), 3.0, 1)
    texts = torch.randint(0, 5, (20, 8), generator=torch.Generator().manual_seed(0))
    batch = next(iter(in_order(as_data(texts, 2, 5), 20)))

    def shown(lam: float, otherwise: Writer, step: int) -> torch.Tensor:
        method = WatchedGKD(lam=lam, otherwise=otherwise, look=ignored, at=frozenset(), steps=2)
        random = Randomness(0)
        random.begin(step)
        return method.source(0.0, 4.0).show(batch, Cast(student, teacher), random).clean

    assert torch.equal(shown(0.0, "data", 1), texts)
    ways: list[tuple[float, Writer]] = [(0.0, "teacher"), (1.0, "data")]
    for lam, otherwise in ways:
        one, other = shown(lam, otherwise, 1), shown(lam, otherwise, 2)
        assert torch.equal(one[:, :2], texts[:, :2])
        assert not torch.equal(one, other)
    assert not torch.equal(shown(0.0, "teacher", 1), shown(1.0, "data", 1))


def test_steps_at_equal_ratios() -> None:
    assert spaced(100, 3) == (0, 1, 10, 100)
    assert spaced(600, 20)[:5] == (0, 1, 2, 3, 4)
    assert spaced(600, 20)[-1] == 600
    assert spaced(1, 5) == (0, 1)
    assert spaced(7, 1) == (0, 1, 7)
