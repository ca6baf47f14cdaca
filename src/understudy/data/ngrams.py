"""Texts as rows of token numbers: hashed character n-grams, or any tokens of one's own, padded with 0."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from understudy.errors import InputError

PADDING = 0


def padded(rows: Sequence[Sequence[int]], length: int | None = None) -> Int[Tensor, "n l"]:
    """Rows of token numbers, each 1 or more, as one tensor (N, L): cut to `length`, filled up with 0.

    None makes them as long as the longest.

    Raises:
        InputError: no rows, a length below 1, or a token below 1.
    """
    longest = max((len(row) for row in rows), default=0)
    length = max(longest, 1) if length is None else length
    if not rows or length < 1:
        raise InputError(f"padding needs one row and a length of 1 or more, found {len(rows)} and {length}")
    least = min((min(row) for row in rows if row), default=1)
    if least <= PADDING:
        raise InputError(f"tokens must be 1 or more, since {PADDING} is the padding; found {least}")
    out = torch.full((len(rows), length), PADDING, dtype=torch.int64)
    for i, row in enumerate(rows):
        kept = list(row[:length])
        out[i, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return out


def hashed_ngrams(
    texts: Sequence[str], buckets: int = 4096, sizes: Sequence[int] = (3, 4), length: int | None = None
) -> Int[Tensor, "n l"]:
    """The character n-grams of each text, in lower case and with its words' borders, as numbers 1..buckets: (N, L).

    The number is a checksum (CRC-32) modulo `buckets`: no vocabulary, the same on every machine.

    Raises:
        InputError: as `padded`; buckets or a size below 1.
    """
    if buckets < 1 or min(sizes, default=0) < 1:
        raise InputError(f"buckets and sizes must be 1 or more, found {buckets} and {tuple(sizes)}")

    def numbers(text: str) -> list[int]:
        plain = f" {' '.join(text.lower().split())} "
        grams = (plain[i : i + n] for n in sizes for i in range(len(plain) - n + 1))
        return [1 + zlib.crc32(gram.encode()) % buckets for gram in grams]

    return padded([numbers(text) for text in texts], length)
