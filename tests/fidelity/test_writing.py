"""Answers and wording: definitions worked by hand, and BLEU against a second way of counting."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from understudy.errors import InputError
from understudy.fidelity.writing import answer_agreement, bleu


def test_agreement() -> None:
    assert answer_agreement(["a", "b", None, None], ["a", "c", None, "a"]) == 0.25
    assert answer_agreement(["a"], ["a"]) == 1.0
    for pair in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(InputError, match="as many texts"):
            answer_agreement(*pair)


def counted_again(references: list[str], written: list[str], longest: int) -> float:
    """BLEU in fractions, each run struck off its reference once it is used."""
    product = Fraction(1)
    for n in range(1, longest + 1):
        hit = total = 0
        for reference, text in zip(references, written, strict=True):
            left = [reference[i : i + n] for i in range(len(reference) - n + 1)]
            for i in range(len(text) - n + 1):
                total += 1
                if text[i : i + n] in left:
                    left.remove(text[i : i + n])
                    hit += 1
        product *= Fraction(hit, total) if total else 0
    r, c = sum(map(len, references)), sum(map(len, written))
    return float(product) ** (1 / longest) * (1.0 if c >= r else math.exp(1 - r / c))


@pytest.mark.parametrize("longest", [1, 2, 4])
def test_bleu_against_a_second_way(longest: int) -> None:
    draw = random.Random(longest)
    for _ in range(20):
        references = ["".join(draw.choices("abc", k=draw.randint(3, 9))) for _ in range(6)]
        written = ["".join(draw.choices("abc", k=draw.randint(2, 9))) for _ in range(6)]
        wanted = counted_again(references, written, longest)
        assert bleu(references, written, longest) == pytest.approx(wanted, abs=1e-12)
        assert bleu(references, references, longest) == 1.0


def test_bleu_by_hand() -> None:
    cat = ["the", "cat", "is", "on", "the", "mat"]
    assert bleu([cat], [["the"] * 7], longest=1) == pytest.approx(2 / 7)  # the paper's own example
    assert bleu([cat], [["the"] * 7]) == 0.0
    assert bleu(["abcd"], ["abc"], longest=1) == pytest.approx(math.exp(1 - 4 / 3))
    assert bleu(["abcd"], ["abce"], longest=2) == pytest.approx(math.sqrt(3 / 4 * 2 / 3))
    # counts are pooled before shares are taken: the second text has no run of two at all
    assert bleu(["abcd", "a"], ["abcd", "a"]) == 1.0
    assert bleu(["ab"], [""]) == 0.0
    with pytest.raises(InputError, match="longest run"):
        bleu(["a"], ["a"], 0)
    with pytest.raises(InputError, match="found 1 and 0"):
        bleu(["a"], [])
