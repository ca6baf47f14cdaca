"""Whole numbers in as few bytes as they need: 2 (uint16), 3 (uint24), 4 (uint32), up to 8, little-endian."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt8

from understudy.errors import InputError


def bytes_for(largest: int) -> int:
    """Bytes of a number in 0..largest: 2 to 8.

    Raises:
        InputError: `largest` is negative or needs more than 63 bits.
    """
    if not 0 <= largest < 2**63:
        raise InputError(f"a packed number must lie in 0..2^63 - 1, found {largest}")
    return max(2, -(-largest.bit_length() // 8))


def pack(values: Int64[np.ndarray, " m"], width: int) -> UInt8[np.ndarray, "m w"]:
    """Each value as `width` bytes: (M, width). Values must fit."""
    return np.ascontiguousarray(values.astype("<u8")).view(np.uint8).reshape(-1, 8)[:, :width]


def unpack(raw: UInt8[np.ndarray, "m w"]) -> Int64[np.ndarray, " m"]:
    """The values that `pack` was given: (M,)."""
    width = raw.shape[1]
    size = 4 if width <= 4 else 8
    wide = np.zeros((len(raw), size), np.uint8)
    wide[:, :width] = raw
    return wide.view(f"<u{size}")[:, 0].astype(np.int64)
