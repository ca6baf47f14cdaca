"""Ballots: a small task for language models with a checkable answer, and how two models' texts are compared.

A prompt is a list of votes for three candidates; the answer counts them and names the winner with their votes:

    abacaba=   ->   4;2,1:a4

The counts are the rationale, what stands behind the colon is the answer. Between the counts stands a comma or a
semicolon, as it happens: two right solutions need not be worded alike.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.batch import CLEAN
from understudy.data.text import TokenSet
from understudy.errors import InputError
from understudy.models.language import reader_of
from understudy.models.language_sampling import continued
from understudy.models.look import answer_of

CANDIDATES = "abc"
SEPARATORS = ",;"


def ballots(votes: Sequence[int], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` different ballots of some of these lengths, in a random order, as (prompt, answer).

    Raises:
        InputError: there are not so many with a winner.
    """
    draw = random.Random(seed)
    every = [cast for length in votes for cast in itertools.product(CANDIDATES, repeat=length)]
    draw.shuffle(every)
    found: list[tuple[str, str]] = []
    for cast in every:
        counts = [cast.count(candidate) for candidate in CANDIDATES]
        if counts.count(max(counts)) > 1:
            continue
        if len(found) == count:
            break
        first, second = draw.choices(SEPARATORS, k=2)
        winner = CANDIDATES[counts.index(max(counts))]
        found.append(
            (f"{''.join(cast)}=", f"{counts[0]}{first}{counts[1]}{second}{counts[2]}:{winner}{max(counts)}")
        )
    if len(found) < count:
        raise InputError(f"there are {len(found)} ballots of {list(votes)} votes, asked for {count}")
    return found


def answer_in(text: str) -> str | None:
    """What stands behind the colon, candidate and votes; None if the text has no colon, or nothing behind it."""
    return text.partition(":")[2] or None


@torch.no_grad()
def written(model: nn.Module, data: TokenSet) -> list[str]:
    """What the model writes to each prompt, taking the likeliest token each time."""
    rows, begin = data.inputs(slice(None)), data.tokens[CLEAN].begin
    found, stop = continued(
        reader_of(model), rows, begin, torch.zeros(rows.shape), temperature=0.0, end=data.end
    )
    pieces = zip(found.tolist(), begin.tolist(), stop.tolist(), strict=True)
    return [data.tokenizer.decode(row[first:last]) for row, first, last in pieces]


@torch.no_grad()
def said(model: nn.Module, data: TokenSet) -> Float[Tensor, "n l v"]:
    """The model's logits over the data's own answers, at every place."""
    return answer_of(model(data.inputs(slice(None))))
