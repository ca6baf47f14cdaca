"""Good and bad traces: what a teacher wrote to a problem in several attempts, some right and some wrong.

A file holds one JSON object a line: either {"prompt": ..., "good": ..., "bad": ...}, ready to be trained on, or
{"problem": ..., "traces": [{"text": ..., "ok": true}, ...]}, which `divide` makes such rows of. As a data set the good
trace is the view "clean", which any method for text reads, and the bad one is the view "bad".
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from understudy.data.text import TokenSet, from_pairs
from understudy.data.token_rows import Pair, encode, to_rows
from understudy.data.tokenizers import Tokenizer
from understudy.errors import InputError

BAD = "bad"  # the view that holds the bad traces


class Trace(NamedTuple):
    """One attempt, and what the verifier says of it; None is no verdict, and counts as wrong."""

    text: str
    ok: bool | None


class Problem(NamedTuple):
    """A problem and the teacher's attempts at it."""

    problem: str
    traces: tuple[Trace, ...]


class Triple(NamedTuple):
    """What is given, a right answer to it and a wrong one."""

    prompt: str
    good: str
    bad: str


def divide(problems: Sequence[Problem], seed: int = 0) -> tuple[list[Pair], list[Triple]]:
    """(every right trace behind its problem, one right and one wrong trace of each problem that has both).

    Which of several is taken depends on the seed and on the problem's own text alone, not on the other problems.
    """
    pairs, triples = [], []
    for problem, traces in problems:
        good = [trace.text for trace in traces if trace.ok is True]
        bad = [trace.text for trace in traces if trace.ok is not True]
        pairs += [Pair(problem, text) for text in good]
        if good and bad:
            draw = random.Random(f"{seed}\0{problem}")
            triples.append(Triple(problem, draw.choice(good), draw.choice(bad)))
    return pairs, triples


def from_triples(
    triples: Sequence[Triple],
    tokenizer: Tokenizer,
    *,
    name: str = "traces",
    split: str = "train",
    length: int | None = None,
) -> TokenSet:
    """Problems with a good and a bad trace each as a data set; every trace ends with the tokenizer's end token.

    Args:
        length: L, tokens a row. What is longer is left out with a warning, not cut: a trace without its end has
            no answer. None: as the longest needs.

    Raises:
        InputError: no triple, an empty part of one, or none that fits into `length`.
    """
    for row, triple in enumerate(triples):
        if not all(triple):
            raise InputError(
                f"data set {name!r}: prompt, good and bad must not be empty, found {triple} at row {row}"
            )
    both = [[encode(tokenizer, Pair(triple.prompt, text), True) for text in triple[1:]] for triple in triples]
    sizes = [max(len(own.prompt) + len(own.answer) for own in row) for row in both]
    kept = [row for row, size in enumerate(sizes) if length is None or size <= length]
    if not kept:
        raise InputError(
            f"data set {name!r} ({split}) holds no traces" + ("" if length is None else _fit(length))
        )
    if len(kept) < len(both):
        warnings.warn(
            f"data set {name!r} ({split}): {len(both) - len(kept)} of {len(both)} problems have a trace beyond "
            f"length={length} tokens and are left out"
        )
    length = max(sizes[row] for row in kept) if length is None else length
    good = [(triples[row].prompt, triples[row].good) for row in kept]
    found = from_pairs(good, tokenizer, name=name, split=split, length=length)
    bad = to_rows([both[row][1] for row in kept], tokenizer, length)
    return replace(found, tokens={**found.tokens, BAD: bad})


def _fit(length: int) -> str:
    return f" of at most length={length} tokens: state a greater length"


def read_triples(file: Path) -> list[Triple] | None:
    """The rows of a file of either form, those of the second divided with seed 0; None if it is of another form.

    Raises:
        InputError: it cannot be read, or its rows are not all of one form.
    """
    rows = _rows(file)
    if not rows or not ({"good", "bad"} & rows[0].keys() or "traces" in rows[0]):
        return None
    try:
        if "traces" in rows[0]:
            return divide([_problem(row) for row in rows])[1]
        return [Triple(*(str(row[part]) for part in Triple._fields)) for row in rows]
    except (KeyError, TypeError) as error:
        raise InputError(
            f'{file} must hold {{"prompt": ..., "good": ..., "bad": ...}} a line, or '
            f'{{"problem": ..., "traces": [{{"text": ..., "ok": true}}, ...]}}: {error!r}'
        ) from error


def _problem(row: dict[str, Any]) -> Problem:
    traces = tuple(Trace(str(one["text"]), True if one["ok"] is True else None) for one in row["traces"])
    return Problem(str(row["problem"]), traces)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"text {str(file)!r} cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(f"{file} must hold one JSON object a line: {error}") from error
    return rows if all(isinstance(row, dict) for row in rows) else []
