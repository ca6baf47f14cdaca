"""What is said of a claim, from numbers alone."""

from __future__ import annotations

import math

import pytest

from understudy.errors import InputError
from understudy.experiments.findings import OPEN, REFUTED, Finding, judge, less, sentence_on, untold


def finding(name: str, verdict: str) -> Finding:
    return Finding(name, "said", 0.0, None, None, verdict)


def test_a_part_is_judged_by_its_interval() -> None:
    up = judge("a", "x", [0.1, 0.12, 0.11])
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # Student's t with two degrees of freedom
    assert up.low == pytest.approx(0.11 - half)
    assert up.high == pytest.approx(0.11 + half)
    assert up.verdict == "appeared"
    assert judge("a", "x", [-0.1, -0.12, -0.11]).verdict == "did not appear"
    assert judge("a", "x", [0.1, -0.1, 0.05]).verdict == "cannot be told"
    assert judge("a", "x", [0.0, 0.0]).verdict == "did not appear"  # nothing is above 0
    one = judge("a", "x", [0.9])
    assert (one.mean, one.low, one.high, one.verdict) == (0.9, None, None, "cannot be told")


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("appeared", "appeared"), "claim appeared (appeared: a, b)"),
        (("appeared", "did not appear"), "claim appeared in part (appeared: a; did not appear: b)"),
        (("cannot be told", "appeared"), "claim appeared in part (appeared: b; cannot be told: a)"),
        (("did not appear", "cannot be told"), "claim did not appear (did not appear: a; cannot be told: b)"),
        (("cannot be told", "cannot be told"), "claim can be neither seen nor denied (cannot be told: a, b)"),
    ],
)
def test_one_sentence_on_all_parts(verdicts: tuple[str, str], said: str) -> None:
    found = sentence_on([finding(n, v) for n, v in zip("ab", verdicts, strict=True)], 3)
    assert said in found
    assert found.endswith("judged by 95% intervals over 3 seeds.")
    assert found.count(".") == 1
    assert "a single seed, which has no interval" in sentence_on([finding("a", verdicts[0])], 1)


def test_a_claim_without_a_part() -> None:
    with pytest.raises(InputError, match="one part at least"):
        sentence_on([], 3)


def test_a_part_that_never_came_up_is_not_told() -> None:
    found = untold("a", "b", [0.0, 0.0, 0.0], share=False)
    assert (found.mean, found.low, found.high, found.verdict, found.share) == (0.0, None, None, OPEN, False)
    assert judge("a", "b", [0.0, 0.0, 0.0]).verdict == REFUTED


def test_a_difference_is_taken_seed_by_seed() -> None:
    values = {("a", "x"): [3.0, 5.0], ("b", "x"): [1.0, 7.0]}
    assert less(values, "x", "a", "b") == [2.0, -2.0]
    with pytest.raises(ValueError, match="zip"):
        less({**values, ("b", "x"): [1.0]}, "x", "a", "b")
