"""Means over a sequence's own positions, held against loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.errors import InputError
from understudy.objectives.tokens import mask_of, next_token_loss, sequence_divergence, sequence_mean

GENERATOR = torch.Generator().manual_seed(0)
T, S = (torch.randn(3, 6, 5, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
TOKENS = torch.randint(5, (3, 6), generator=GENERATOR)
MASK = torch.tensor([[0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)


def by_loop(value: Tensor) -> list[float]:
    return [
        sum(float(value[row, place]) for place in range(6) if MASK[row, place]) / max(1, int(MASK[row].sum()))
        for row in range(3)
    ]


def test_each_sequence_has_its_own_mean() -> None:
    p, q = T.softmax(2), S.softmax(2)
    forward = (p * (p.log() - q.log())).sum(2)
    assert sequence_divergence(T, S, MASK).tolist() == pytest.approx(by_loop(forward))
    m = 0.3 * p + 0.7 * q
    mixed = 0.3 * (p * (p / m).log()).sum(2) + 0.7 * (q * (q / m).log()).sum(2)
    assert sequence_divergence(T, S, MASK, "jsd", 0.3).tolist() == pytest.approx(by_loop(mixed))
    said = -S.log_softmax(2).gather(2, TOKENS.roll(-1, 1)[..., None])[..., 0]
    assert next_token_loss(S, TOKENS, MASK).tolist() == pytest.approx(by_loop(said))
    assert sequence_mean(said, MASK)[2] == 0


def test_the_next_tokens_loss_is_torchs_where_all_rows_are_alike() -> None:
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[:, 1:5] = True
    expected = F.cross_entropy(S[:, 1:5].flatten(0, 1), TOKENS[:, 2:6].flatten())
    assert next_token_loss(S, TOKENS, mask).mean().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_what_does_not_count_may_be_anything(value: float) -> None:
    student = S.masked_fill(~MASK[..., None], value).requires_grad_()
    teacher = T.masked_fill(~MASK[..., None], value)
    assert torch.equal(sequence_divergence(teacher, student, MASK), sequence_divergence(T, S, MASK))
    total = sequence_divergence(teacher, student, MASK).sum() + next_token_loss(student, TOKENS, MASK).sum()
    (gradient,) = torch.autograd.grad(total, student)
    assert bool(gradient.isfinite().all())
    assert not gradient[~MASK].any()
    assert bool(gradient[MASK].any(1).all())


def test_padded_heads_are_cut_to_the_vocabulary() -> None:
    wide = torch.cat((S, torch.full((3, 6, 2), 9.0)), 2)
    assert torch.equal(sequence_divergence(T, wide, MASK, classes=5), sequence_divergence(T, S, MASK))
    with pytest.raises(InputError, match="need classes="):
        sequence_divergence(T, wide, MASK)


def test_a_last_position_that_counts_is_refused() -> None:
    with pytest.raises(InputError, match="no token follows it"):
        next_token_loss(S, TOKENS, torch.ones(3, 6, dtype=torch.bool))
    with pytest.raises(InputError, match="2 tokens or more"):
        next_token_loss(S[:, :1], TOKENS[:, :1], MASK[:, :1])


def test_a_batch_without_text_is_refused() -> None:
    batch = us.Batch({"clean": TOKENS}, torch.arange(3), masks={"clean": MASK})
    assert mask_of(batch) is MASK
    with pytest.raises(InputError, match="no mask for its view 'teacher'"):
        mask_of(batch, "teacher")
