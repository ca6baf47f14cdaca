"""How alike two texts are, word by word, and whether one is unlike all that are known: ROUGE-L."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable


def words(text: str) -> list[str]:
    """Its words and numbers, in lower case, without what stands between them."""
    return re.findall(r"\w+", text.lower())


def rouge_l(one: str, other: str) -> float:
    """F of the longest common subsequence of words, in [0, 1]: 2 LCS / (m + n) for m and n words; 0 for no words."""
    return _score(words(one), words(other))


def _score(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, start=1):
            here = row[place]
            row[place] = before + 1 if word == other else max(here, row[place - 1])
            before = here
    return 2 * row[-1] / (len(a) + len(b))


class Known:
    """Texts that are there already.

    Most of them share few words with another one: then the count of shared words, which no common subsequence
    exceeds, decides without a look at their order.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: list[tuple[list[str], Counter[str]]] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """One more."""
        own = words(text)
        self._texts.append((own, Counter(own)))

    def is_new(self, text: str, threshold: float) -> bool:
        """Whether its ROUGE-L to none of them is above `threshold`; one of 1 or more lets everything pass."""
        own = words(text)
        count = Counter(own)
        for other, known in self._texts:
            total = len(own) + len(other)
            if total and 2 * (count & known).total() / total > threshold and _score(own, other) > threshold:
                return False
        return True
