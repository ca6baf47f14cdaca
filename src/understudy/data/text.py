"""`TokenSet`: texts as rows of tokens, with the positions that count. What a language model reads.

A row holds a prompt and an answer, padded on the right: the answer's tokens are those that are asked for. Position i
of a model's answer says what token i + 1 is, so it counts where token i + 1 belongs to the answer.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor

from understudy.data.batch import CLEAN
from understudy.data.dataset import DataSet
from understudy.data.token_rows import (
    Pair,
    Tokens,
    characters_read,
    encode,
    meeting,
    meetings,
    stops_of,
    to_rows,
)
from understudy.data.tokenizers import Tokenizer
from understudy.errors import InputError
from understudy.numbers import check_number


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenSet(DataSet):
    """Texts for language models. `stored` holds the tokens (N, L), `classes` is the size of the vocabulary.

    Attributes:
        pairs: the texts themselves.
        tokens: the view's name -> its tokens; "clean" is what the student reads, others belong to other tokenizers.
        closed: whether an answer ends with the end token (a piece of running text does not).
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    tokens: Mapping[str, Tokens] = field(repr=False)
    closed: bool = True

    @property
    def tokenizer(self) -> Tokenizer:
        """The student's tokenizer."""
        return self.tokens[CLEAN].tokenizer

    @property
    def end(self) -> int | None:
        """The token that ends an answer; None where answers are cut from running text."""
        return self.tokenizer.end if self.closed else None

    def inputs(self, index: Int[Tensor, " b"] | slice) -> Int[Tensor, "b l"]:
        """The student's tokens (B, L), always a fresh tensor."""
        return self.stored[index].clone()

    def views(self, index: Int[Tensor, " b"] | slice) -> dict[str, Tensor]:
        """Tokens by view (B, L)."""
        return {name: tokens.ids[index].clone() for name, tokens in self.tokens.items()}

    def masks(self, index: Int[Tensor, " b"] | slice) -> dict[str, Tensor]:
        """Which positions count, by view (B, L); and of each two views those where both have read the same."""
        found = {name: tokens.mask(index) for name, tokens in self.tokens.items()}
        for name in self.tokens:
            if name != CLEAN:
                both = self.tokens[CLEAN].read[index], self.tokens[name].read[index]
                found.update(zip(meeting(CLEAN, name), meetings(*both), strict=True))
        return found

    def take(self, count: int) -> TokenSet:
        """The first `count` texts, or all of them if there are fewer."""
        if count < 1:
            raise InputError(f"a data set must keep at least one example, asked for {count}")
        return self._cut(slice(0, count))

    def rows(self, index: Int[Tensor, " b"]) -> TokenSet:
        """The texts at the given rows, in that order."""
        return self._cut(index)

    def _cut(self, index: Tensor | slice) -> TokenSet:
        chosen = torch.arange(len(self))[index].tolist()
        tokens = {name: own.at(index) for name, own in self.tokens.items()}
        return replace(
            self, stored=tokens[CLEAN].ids, tokens=tokens, pairs=tuple(self.pairs[i] for i in chosen)
        )

    def beside(self, view: str, tokenizer: Tokenizer, length: int | None = None) -> TokenSet:
        """The same texts with one view more, in another tokenizer's tokens; the length defaults to the longest's.

        Raises:
            InputError: a prompt fills `length` tokens.
        """
        ids = [encode(tokenizer, pair, self.closed) for pair in self.pairs]
        tokens = to_rows(ids, tokenizer, length)
        if len(tokens.ids) != len(self):
            raise InputError(
                f"a prompt of {self.name!r} fills {length} tokens of the view {view!r}: state more"
            )
        return replace(self, tokens={**self.tokens, view: tokens})

    def fingerprint(self) -> str:
        """SHA-256 over tokens, positions and tokenizers."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for name, tokens in self.tokens.items():
            digest.update(f"{name}\0{tokens.tokenizer.key}\0".encode())
            for part in (tokens.ids, tokens.begin, tokens.end):
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


def from_pairs(
    pairs: Sequence[tuple[str, str]],
    tokenizer: Tokenizer,
    *,
    name: str = "texts",
    split: str = "train",
    length: int | None = None,
) -> TokenSet:
    """Prompts and answers as a data set; each answer ends with the tokenizer's end token.

    Args:
        length: L, tokens a row; what is longer loses the end of its answer. None: as the longest pair needs.

    Raises:
        InputError: no pair, an empty prompt or answer, or no prompt leaves room for an answer.

    Warns of prompts that fill `length` tokens by themselves: these pairs are left out.
    """
    texts = [Pair(*pair) for pair in pairs]
    for row, pair in enumerate(texts):
        if not pair.prompt or not pair.answer:
            raise InputError(
                f"data set {name!r}: prompt and answer must not be empty, found {pair} at row {row}"
            )
    if not texts:
        raise InputError(f"data set {name!r} ({split}) holds no texts")
    ids = [encode(tokenizer, pair, True) for pair in texts]
    kept = [row for row, own in enumerate(ids) if length is None or len(own.prompt) < length]
    if not kept:
        raise InputError(
            f"data set {name!r}: every prompt fills length={length} tokens; state a greater length"
        )
    if len(kept) < len(ids):
        warnings.warn(
            f"data set {name!r} ({split}): {len(ids) - len(kept)} of {len(ids)} prompts fill length={length} "
            "tokens and are left out"
        )
    tokens = to_rows([ids[row] for row in kept], tokenizer, length)
    return _token_set(name, split, tuple(texts[row] for row in kept), tokens, closed=True)


def from_running(
    text: str,
    tokenizer: Tokenizer,
    *,
    name: str = "text",
    split: str = "train",
    length: int = 64,
    prompt: int = 1,
) -> TokenSet:
    """A long text as pieces of `length` tokens, each a prompt of `prompt` tokens and what follows it.

    What is left at the end is dropped. Raises InputError unless 1 <= prompt < length, or if the text is shorter.
    """
    check_number("length", length, 2)
    check_number("prompt", prompt, 1, length - 1)
    ids, spans = tokenizer.spans(text)
    count = len(ids) // length
    if count == 0:
        raise InputError(f"data set {name!r} ({split}) holds {len(ids)} tokens, fewer than length={length}")
    rows = torch.tensor(ids[: count * length]).reshape(count, length)
    pairs, read = [], []
    for first in range(0, count * length, length):
        cut, stop = spans[first + prompt][0], spans[first + length - 1][1]
        pairs.append(Pair(text[spans[first][0] : cut], text[cut:stop]))
        stops = stops_of(spans[first + prompt - 1 : first + length])
        behind = characters_read([max(stop - cut, -1) for stop in stops[1:]], prompt, length)
        behind[prompt - 1] = 0 if stops[0] >= 0 else -1
        read.append(behind)
    whole = torch.full((count,), length)
    tokens = Tokens(rows, torch.full((count,), prompt), whole, torch.tensor(read), tokenizer)
    return _token_set(name, split, tuple(pairs), tokens, closed=False)


def _token_set(name: str, split: str, pairs: tuple[Pair, ...], tokens: Tokens, *, closed: bool) -> TokenSet:
    size = tokens.tokenizer.size
    return TokenSet(
        name, split, tokens.ids, classes=size, low=0.0, high=size - 1.0, pairs=pairs, tokens={CLEAN: tokens},
        closed=closed,
    )  # fmt: skip
