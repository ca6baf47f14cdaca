"""Random numbers that belong to a row and not to a batch: a counter-based generator on arrays.

Number c of row r under a key is a hash of the three, by the finaliser of splitmix64 (Steele, Lea and Flood, 2014).
However rows are grouped, ordered or repeated, each gets the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float64, Int64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD1B54A32D192ED03)


def stream_key(*parts: object) -> int:
    """A 64-bit key from what a stream belongs to: a purpose, a seed, a view, ..."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def uniforms(key: int, rows: Int64[np.ndarray, " n"], columns: int) -> Float64[np.ndarray, "n c"]:
    """Uniform on [0, 1), multiples of 2^-53: the first `columns` numbers of each row's stream, (N, columns)."""
    start = _mix(rows.astype(np.uint64) * _ODD ^ np.array([key], np.uint64))
    steps = np.arange(1, columns + 1, dtype=np.uint64) * _GOLDEN
    return (_mix(start[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def _mix(word: np.ndarray) -> np.ndarray:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
