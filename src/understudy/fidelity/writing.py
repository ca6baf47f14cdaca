"""Whether two language models write alike: their answers, and the words that lead there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from understudy.errors import InputError
from understudy.numbers import check_number


def answer_agreement(first: Sequence[str | None], second: Sequence[str | None]) -> float:
    """The share of prompts to which both give the same answer, right or wrong, in [0, 1]; None, no answer, is never
    the same. With independent prompts unbiased for the probability of agreeing. Raises as `bleu` does.
    """
    _check(first, second)
    return sum(a is not None and a == b for a, b in zip(first, second, strict=True)) / len(first)


def bleu(
    references: Sequence[Sequence[Hashable]], written: Sequence[Sequence[Hashable]], longest: int = 4
) -> float:
    """BLEU (Papineni, Roukos, Ward and Zhu, ACL 2002), in [0, 1]; 1 where everything is written alike.

    min(1, e^(1 - r / c)) (prod over n <= N of m_n)^(1 / N), where m_n is the share of the written runs of n tokens
    that their reference has as well (each as often as there, at most), r and c are the lengths of all references and
    of all that was written. One reference a text; counts are pooled over all texts before the shares are taken, and
    nothing is smoothed: it is 0 where no run of some length is shared, or none can be. Not symmetric.

    Args:
        references, written: texts in their tokens, in the same order; a str is read as its characters.
        longest: N, 1 or more.

    Raises:
        InputError: no text, or not as many in both.
    """
    _check(references, written)
    check_number("the longest run of tokens", longest, 1)
    logarithm = 0.0
    for n in range(1, longest + 1):
        shared = total = 0
        for reference, text in zip(references, written, strict=True):
            runs = _runs(text, n)
            shared += (runs & _runs(reference, n)).total()
            total += runs.total()
        if shared == 0:
            return 0.0
        logarithm += math.log(shared / total) / longest
    sizes = [sum(map(len, texts)) for texts in (references, written)]
    return math.exp(min(0.0, 1.0 - sizes[0] / sizes[1]) + logarithm)


def _runs(text: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def _check(first: Sequence[object], second: Sequence[object]) -> None:
    if not first or len(first) != len(second):
        raise InputError(
            f"as many texts are needed of both, at least one, found {len(first)} and {len(second)}"
        )
