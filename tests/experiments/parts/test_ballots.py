"""Ballots: every one is right, none twice, and what is written is read back."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from understudy.data.text import TokenSet, from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.experiments.parts.ballots import answer_in, ballots, said, written


def test_ballots() -> None:
    found = ballots((4, 5), 150, seed=3)
    assert len({prompt for prompt, _ in found}) == 150
    assert {len(prompt) for prompt, _ in found} == {5, 6}
    separators = ""
    for prompt, answer in found:
        read = re.fullmatch(r"(\d)([,;])(\d)([,;])(\d):([abc])(\d)", answer)
        assert read
        counts = {name: int(read[at]) for name, at in (("a", 1), ("b", 3), ("c", 5))}
        assert counts == {name: prompt.count(name) for name in "abc"}
        assert [name for name, n in counts.items() if n == max(counts.values())] == [read[6]]
        assert int(read[7]) == counts[read[6]]
        separators += read[2] + read[4]
    assert 100 < separators.count(",") < 200
    assert ballots((4, 5), 150, seed=3) == found
    assert ballots((4, 5), 150, seed=4) != found


def test_all_there_are_and_no_more() -> None:
    # of 27 ballots of three votes the 6 with a vote each have no winner
    assert len(ballots((3,), 21, seed=0)) == 21
    with pytest.raises(InputError, match="there are 21 ballots"):
        ballots((3,), 22, seed=0)


def test_answers() -> None:
    assert answer_in("1,2;0:b2") == "b2"
    assert answer_in("1,2;0:") is None
    assert answer_in("1,2;0") is None


class Knows(nn.Module):
    """A language model that says the data's own next token."""

    def __init__(self, data: TokenSet) -> None:
        super().__init__()
        self.rows, self.size = data.inputs(slice(None)), data.tokenizer.size

    def forward(self, tokens: Tensor) -> Tensor:
        width = tokens.shape[1]
        following = torch.roll(self.rows, -1, 1)[:, :width]
        return 9.0 * nn.functional.one_hot(following, self.size).float()


def test_what_a_model_writes_is_read_back() -> None:
    data = from_pairs(ballots((3, 5), 12, seed=1), train_tokenizer([]))
    model = Knows(data)
    assert written(model, data) == [pair.answer for pair in data.pairs]
    assert said(model, data).shape == (12, data.shape[0], data.classes)
