"""The embedded set with several labels an example: mosaics of real digits, each labelled with all that it holds."""

from __future__ import annotations

import hashlib

import numpy as np

from understudy.data.decoded import Decoded
from understudy.data.named import DIGITS, SPLITS, decode_digits, digits_key

SIZES = {"train": 4000, "test": 1000}


def mosaic_key(split: str) -> str:
    """What the set is cached under: what the digits are, how many mosaics and how they are drawn."""
    return hashlib.sha256(f"mosaic 1 {SIZES[split]} {digits_key(split)}".encode()).hexdigest()


def decode_mosaics(split: str) -> Decoded:
    """2 x 2 places for UCI digits, (N, 1, 16, 16) uint8 in 0..16; labels (N, 10), 1 for every digit that is there.

    4,000 for training and 1,000 for testing, each of 1 to 4 digits (as likely one number as another) of its own split
    at places of their own, all drawn with replacement by a generator whose numbers are fixed; the rest is empty.
    """
    found = decode_digits(split)
    assert found.labels is not None
    draw = np.random.RandomState(SPLITS.index(split))  # its stream is frozen, unlike a Generator's
    count = SIZES[split]
    inputs = np.zeros((count, 1, 16, 16), dtype=np.uint8)
    labels = np.zeros((count, len(DIGITS)), dtype=np.int64)
    for row in range(count):
        places = draw.permutation(4)[: draw.randint(1, 5)]
        for place in places:
            which = draw.randint(len(found.inputs))
            top, left = 8 * (place // 2), 8 * (place % 2)
            inputs[row, :, top : top + 8, left : left + 8] = found.inputs[which]
            labels[row, found.labels[which]] = 1
    return Decoded(inputs, labels, DIGITS)
