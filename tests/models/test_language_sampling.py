"""Writing on from prompts: which tokens are drawn, where a row ends, and that rows do not disturb one another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.models.language import reader_of
from understudy.models.language_sampling import continued, sample
from understudy.testing import tiny_lm

VOCABULARY, LENGTH = 5, 8
MODEL = tiny_lm(VOCABULARY, seed=3).double().eval()


def drawn(rows: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prompts(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def by_hand(tokens: Tensor, begin: int, numbers: Tensor, temperature: float, end: int | None) -> list[int]:
    """One row, one token at a time, read from its start each time; up to its end token."""
    row = tokens[:begin].tolist()
    for place in range(begin, LENGTH):
        logits = MODEL(torch.tensor([row]))[0, -1]
        if temperature == 0:
            row.append(int(logits.argmax()))
        else:
            left = float(numbers[place])
            shares = (logits / temperature).softmax(0).tolist()
            token = next((k for k in range(VOCABULARY) if left < sum(shares[: k + 1])), VOCABULARY - 1)
            row.append(token)
        if row[-1] == end:
            break
    return row


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, LENGTH), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.7, 1.0]),
    st.sampled_from([None, 2]),
    st.integers(0, 100),
)
def test_rows_are_written_as_each_would_be_alone(
    begins: list[int], temperature: float, end: int | None, seed: int
) -> None:
    tokens, numbers, begin = prompts(len(begins), seed), drawn(len(begins), seed), torch.tensor(begins)
    before = tokens.clone()
    with torch.no_grad():
        made, stop = continued(reader_of(MODEL), tokens, begin, numbers, temperature=temperature, end=end)
    assert torch.equal(tokens, before)
    for row, first in enumerate(begins):
        expected = by_hand(tokens[row], first, numbers[row], temperature, end)
        assert made[row, : len(expected)].tolist() == expected
        assert stop[row] == len(expected)
        if end is not None and first < LENGTH:
            assert bool((made[row, len(expected) :] == end).all())


def test_tokens_are_drawn_with_their_probability() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0]).expand(40000, 4)
    numbers = torch.rand(40000, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        found = torch.bincount(sample(logits, numbers, temperature), minlength=4) / 40000
        assert torch.allclose(found, (logits[0] / temperature).softmax(0), atol=0.01)


@pytest.mark.parametrize("number", [0.0, 0.5, 1.0 - 2**-24])
def test_a_token_of_no_probability_is_never_drawn(number: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert int(sample(logits, torch.tensor([number]), 1.0)) in (1, 3)


def test_padding_of_the_head_is_not_written() -> None:
    def read(tokens: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 50.0, 50.0]).expand(*tokens.shape, 4)

    made, _ = continued(read, torch.zeros(3, LENGTH).long(), torch.tensor([1, 1, 4]), drawn(3), classes=2)
    assert int(made.max()) == 1
