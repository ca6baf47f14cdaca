"""Texts as rows of tokens: prompt and answer one behind the other, padded on the right, and what counts in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from understudy.data.tokenizers import Tokenizer


class Pair(NamedTuple):
    """What is given and what is asked for."""

    prompt: str
    answer: str


@dataclass(frozen=True, eq=False)
class Tokens:
    """One tokenisation of some texts.

    Attributes:
        ids: (N, L) tokens, padded on the right.
        begin, end: (N,) the answer of row n is ids[n, begin:end], with its end token if there is one.
        read: (N, L) how many characters of the answer lie behind a position that counts; -1 at one that does not,
            and inside a character that several tokens make up.
        tokenizer: what made them.
    """

    ids: Int[Tensor, "n l"] = field(repr=False)
    begin: Int[Tensor, " n"] = field(repr=False)
    end: Int[Tensor, " n"] = field(repr=False)
    read: Int[Tensor, "n l"] = field(repr=False)
    tokenizer: Tokenizer

    def mask(self, rows: Int[Tensor, " b"] | slice) -> Bool[Tensor, "b l"]:
        """Which positions of the rows count: those that say a token of the answer."""
        following = torch.arange(1, self.ids.shape[1] + 1)
        return (following >= self.begin[rows, None]) & (following < self.end[rows, None])

    def at(self, rows: Int[Tensor, " b"] | slice) -> Tokens:
        """Some of the rows."""
        columns = {name: getattr(self, name)[rows] for name in ("ids", "begin", "end", "read")}
        return replace(self, **columns)


def meeting(one: str, other: str) -> tuple[str, str]:
    """What the masks are called of the positions at which two views have read the same text: of one, of other."""
    return f"{one} as {other}", f"{other} as {one}"


def meetings(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Of what was read at each place (B, L) and (B, M): which places of either have their like in the other."""
    same = (one[:, :, None] == other[:, None, :]) & (one[:, :, None] >= 0)
    return same.any(2), same.any(1)


class Encoded(NamedTuple):
    """The tokens of a prompt and of its answer, and the character of the answer at which each of those stops."""

    prompt: list[int]
    answer: list[int]
    stops: list[int]


def encode(tokenizer: Tokenizer, pair: Pair, closed: bool) -> Encoded:
    """Prompt and answer apart; the answer of a `closed` text with the end token, the prompt never empty."""
    answer, spans = tokenizer.spans(pair.answer)
    end = [tokenizer.end] if closed and tokenizer.end is not None else []
    stops = stops_of(spans) + [len(pair.answer)] * len(end)
    return Encoded(tokenizer.encode(pair.prompt, opening=True) or [tokenizer.pad], answer + end, stops)


def stops_of(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where each token stops, -1 inside a character: where the next one begins before that."""
    following = [start for start, _ in spans[1:]] + [spans[-1][1]] if spans else []
    return [stop if start >= stop else -1 for (_, stop), start in zip(spans, following, strict=True)]


def characters_read(stops: list[int], begin: int, length: int) -> list[int]:
    """What lies behind each place of a row, in characters of the answer, whose tokens stop at `stops`."""
    behind = [0, *stops[:-1]]  # of the place that says the first token, the second, ...
    return ([-1] * (begin - 1) + behind + [-1] * length)[:length]


def to_rows(ids: Sequence[Encoded], tokenizer: Tokenizer, length: int | None) -> Tokens:
    """Padded rows of those whose prompt leaves room for an answer."""
    longest = max(len(own.prompt) + len(own.answer) for own in ids)
    length = longest if length is None else length
    found, begins, ends, read = [], [], [], []
    for own in ids:
        begin = len(own.prompt)
        if begin >= length:
            continue
        row = (own.prompt + own.answer)[:length]
        found.append(row + [tokenizer.pad] * (length - len(row)))
        begins.append(begin)
        ends.append(len(row))
        read.append(characters_read(own.stops[: len(row) - begin], begin, length))
    return Tokens(
        torch.tensor(found), torch.tensor(begins), torch.tensor(ends), torch.tensor(read), tokenizer
    )
