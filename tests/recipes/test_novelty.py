"""ROUGE-L, held against a longest common subsequence found by trying all."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.recipes.novelty import Known, rouge_l, words

LETTERS = st.lists(st.sampled_from("abc"), max_size=6)


def common(a: list[str], b: list[str]) -> int:
    """The longest common subsequence, by trying all of the first's."""
    subsequences = {c for n in range(len(b) + 1) for c in combinations(b, n)}
    return max(len(c) for n in range(len(a) + 1) for c in combinations(a, n) if c in subsequences)


def test_the_worked_number() -> None:
    found = rouge_l("write a poem about the sea", "Write a short poem, about the moon!")
    assert found == pytest.approx(0.769231, abs=5e-7)
    assert found == pytest.approx(2 * (5 / 6) * (5 / 7) / (5 / 6 + 5 / 7))
    assert not Known(["write a poem about the sea"]).is_new("write a short poem about the moon", 0.7)


@settings(deadline=None, max_examples=60)
@given(a=LETTERS, b=LETTERS)
def test_it_is_the_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    expected = 2 * common(a, b) / (len(a) + len(b)) if a and b else 0.0
    assert rouge_l(" ".join(a), " ".join(b)) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(a=LETTERS, others=st.lists(LETTERS, max_size=4), threshold=st.floats(0, 0.99))
def test_the_quick_look_changes_nothing(a: list[str], others: list[list[str]], threshold: float) -> None:
    texts = [" ".join(b) for b in others]
    expected = all(rouge_l(" ".join(a), text) <= threshold for text in texts)
    assert Known(texts).is_new(" ".join(a), threshold) == expected


def test_a_copy_is_known_unless_everything_passes() -> None:
    assert not Known(["add two and three"]).is_new("Add two, and three.", 0.99)
    assert Known(["add two and three"]).is_new("add two and three", 1.0)
    assert words("It's 3:00") == ["it", "s", "3", "00"]
