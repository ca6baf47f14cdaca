"""Rows of tokens."""

from __future__ import annotations

import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import understudy as us
from understudy.data.ngrams import hashed_ngrams, padded

QUICK = settings(max_examples=25, deadline=None, derandomize=True)


def test_rows_are_cut_and_filled_up() -> None:
    assert padded([[3, 1, 2], [], [5]]).tolist() == [[3, 1, 2], [0, 0, 0], [5, 0, 0]]
    assert padded([[3, 1, 2], [5]], 2).tolist() == [[3, 1], [5, 0]]
    assert padded([[]]).tolist() == [[0]]


def test_ngrams_are_those_of_the_words_with_their_borders() -> None:
    found = hashed_ngrams(["Ab  c"], 1000, (3,))
    wanted = [1 + zlib.crc32(gram) % 1000 for gram in (b" ab", b"ab ", b"b c", b" c ")]
    assert found.tolist() == [wanted]


@QUICK
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.integers(1, 50))
def test_tokens_stay_in_their_range_and_do_not_depend_on_the_other_texts(
    texts: list[str], buckets: int
) -> None:
    rows = hashed_ngrams(texts, buckets, (2, 3), 12)
    assert rows.shape == (len(texts), 12)
    assert 0 <= int(rows.min()) <= int(rows.max()) <= buckets
    assert torch.equal(rows[-1:], hashed_ngrams(texts[-1:], buckets, (2, 3), 12))


def test_bad_input_is_refused() -> None:
    with pytest.raises(us.InputError, match="tokens must be 1 or more"):
        padded([[1, 0]])
    with pytest.raises(us.InputError, match="one row"):
        padded([])
    with pytest.raises(us.InputError, match="length of 1 or more"):
        padded([[1]], 0)
    with pytest.raises(us.InputError, match="buckets and sizes"):
        hashed_ngrams(["a"], 0)
