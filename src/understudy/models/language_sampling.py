"""Sampling from a language model: it writes on from each row's prompt, a token at a time, by numbers drawn before."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.models.language import Reader


def continued(
    read: Reader,
    tokens: Int[Tensor, "b l"],
    begin: Int[Tensor, " b"],
    drawn: Float[Tensor, "b l"],
    *,
    temperature: float = 1.0,
    end: int | None = None,
    classes: int | None = None,
) -> tuple[Int[Tensor, "b l"], Int[Tensor, " b"]]:
    """(tokens (B, L) with what the model writes from `begin` on, (B,) one past the last token of each row).

    Rows are read side by side from their starts, so prompts may differ in length: a row whose prompt is longer
    reads on in it while others write. Call it without gradient and with the model in eval mode.

    Args:
        read: a fresh reader, `models.language.reader_of(model)`.
        begin: first place of each row that is written; L leaves a row as it is.
        drawn: numbers in [0, 1), one a place: the token whose share of the distribution holds it is taken.
        temperature: of the distribution; 0 takes the likeliest token.
        end: the token after which a row ends (it is kept, and fills what is left of the row).
        classes: how many of the logits are tokens, where the head is padded.
    """
    tokens, length = tokens.clone(), tokens.shape[1]
    stop = torch.full_like(begin, length)
    first = int(begin.min())
    if first >= length:
        return tokens, stop
    logits = read(tokens[:, :first])[:, -1]
    done = begin >= length
    for place in range(first, length):
        token = sample(logits[:, :classes], drawn[:, place], temperature)
        writes = begin <= place
        if end is not None:
            token = torch.where(done, end, token)
        tokens[:, place] = torch.where(writes, token, tokens[:, place])
        if end is not None:
            ends = writes & ~done & (token == end)
            stop, done = torch.where(ends, place + 1, stop), done | ends
            if bool(done.all()):
                tokens[:, place + 1 :] = torch.where(writes[:, None], end, tokens[:, place + 1 :])
                break
        if place + 1 < length:
            logits = read(tokens[:, place : place + 1])[:, -1]
    return tokens, stop


def sample(logits: Float[Tensor, "b v"], drawn: Float[Tensor, " b"], temperature: float) -> Int[Tensor, " b"]:
    """The token in whose share of softmax(logits / T), laid end to end on [0, 1), each drawn number falls."""
    if temperature == 0.0:
        return logits.argmax(1)
    shares = (logits.double() / temperature).softmax(1).cumsum(1)
    places = torch.searchsorted(shares, (drawn.double() * shares[:, -1])[:, None], right=True)[:, 0]
    return places.clamp(max=logits.shape[1] - 1)
