"""What the intervals say about a claim: a finding for each of its parts, and one sentence on all of them.

The rule, the same for every experiment. A part of a claim is written as a number that is above 0 if the part holds,
one a seed. It *appeared* if the 95 % interval of their mean (Student's t over seeds) lies above 0, *did not appear* if
none of the interval does, and cannot be told otherwise, and with a single seed. The claim appeared if all its parts
did, in part if some did, not at all if none did and one was refuted. The intervals are each at 95 %: they are not
widened for there being several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.errors import InputError
from understudy.fidelity.intervals import mean_over_seeds, verdict

APPEARED, REFUTED, OPEN = "appeared", "did not appear", "cannot be told"
_WORDS = {"better": APPEARED, "not better": REFUTED, "inconclusive": OPEN}


@dataclass(frozen=True)
class Finding:
    """A part of a claim: its short name, what it says, the mean of its number, its interval, and the verdict.

    share: whether the number is a difference of shares, to be read in percentage points.
    """

    name: str
    said: str
    mean: float
    low: float | None
    high: float | None
    verdict: str
    share: bool = True


def judge(name: str, said: str, values: Sequence[float], share: bool = True) -> Finding:
    """The finding on a part that holds if `values` (one a seed, paired where two settings are compared) are above 0."""
    mean, low, high = mean_over_seeds(values)
    return Finding(name, said, mean, low, high, _WORDS[verdict(low, high, True)], share)


def less(values: Mapping[tuple[str, str], Sequence[float]], metric: str, one: str, other: str) -> list[float]:
    """A metric of one setting less that of another, seed by seed, from the values of each (setting, metric)."""
    return [a - b for a, b in zip(values[one, metric], values[other, metric], strict=True)]


def untold(name: str, said: str, values: Sequence[float], share: bool = True) -> Finding:
    """The finding on a part whose number means nothing in one seed or more, as where what it follows never occurred."""
    return Finding(name, said, mean_over_seeds(values)[0], None, None, OPEN, share)


def sentence_on(findings: Sequence[Finding], seeds: int) -> str:
    """One sentence on whether the claim appeared, by the rule above; InputError without a finding."""
    if not findings:
        raise InputError("a claim has one part at least, found none")
    by = {word: [one.name for one in findings if one.verdict == word] for word in (APPEARED, REFUTED, OPEN)}
    if len(by[APPEARED]) == len(findings):
        whole = "appeared"
    elif by[APPEARED]:
        whole = "appeared in part"
    else:
        whole = "did not appear" if by[REFUTED] else "can be neither seen nor denied"
    parts = "; ".join(f"{word}: {', '.join(names)}" for word, names in by.items() if names)
    over = "a single seed, which has no interval" if seeds == 1 else f"95% intervals over {seeds} seeds"
    return f"At this scale the paper’s claim {whole} ({parts}), judged by {over}."
