"""Lion: adversarial distillation of a black box (Jiang et al., arXiv 2305.12870, EMNLP 2023).

The teacher only answers text. Rounds of three stages ask for more of what the student cannot do yet: it imitates the
answers, a referee finds the tasks where it falls behind, and new tasks are made of those.

    imitation        the student learns x -> T(x), x in the training pool (`sft`)
    discrimination   d(x) = t(x) - s(x) for x in the cache pool; hard: d >= tau, easy: d < tau
    generation       new tasks of hard and of easy seeds, drawn uniformly, until there are `hard` and `easy` of them

t and s are the referee's scores (1 to 10) of T's and the student's answer, each the mean over both orders of the two
answers, which takes away what it gives to the first one whatever it says. The new tasks become the training pool and
join the cache pool; the student goes on from where it was. After `rounds` of these it imitates once more; rounds = 0
is plain imitation. A new task is dropped if it is empty, was cut off, contains "instruction", has fewer than
`least_words` words, begins otherwise than with a letter or digit of ASCII, or has ROUGE-L above `threshold` to a task
that is known. A side without seeds leaves its share to the other; one that 20 attempts a task do not fill stays short.

Needs a text teacher: an OpenAI-compatible endpoint ("https://HOST/v1#MODEL"), a language model, or an object with
`answer`; tasks, whose own answers are not read; and a student to build or to go on with. The teacher is referee and
inventor as well, unless `referee` and `inventor` say who is. Cost: an answer a task, and a round three calls a task of
the cache pool; all are kept in answers.jsonl, and no run of the folder asks twice. Known failure: a referee whose
scores are noise makes hard and easy at random; where it gives none in one of the orders the task is left out (in the
official code it may count as easy). Reconstructed: from the official code, whose prompts are worded anew here, without
a system message; the pools' bookkeeping is recalled. Its limit of four tokens a word of the seed is `max_tokens` here,
and of a task's two parts, instruction and input, there is one text.

Measured (`examples/lion.py`: programs in all roles, four skills on words of three letters of which the first makes nine
tenths of 200 tasks, lm[2,48,4], 3 rounds of 60 new tasks; seeds 0 and 1, no interval). Share of the three rare skills
among new tasks, .09 at the start: .50, .53, .68 and .05, .45, .32; with seeds from all tasks .10, .17, .17 and .18,
.23, .18. Accuracy on rare tasks at the end: .604 and .292; seeds from all tasks .151 and .047; scores swapped .125 and
.406, so seed 1 does not bear out that the sign matters; hard seeds alone .776 and .500. What easy seeds buy is that
nothing is forgotten: accuracy on the first skill is 1.000 and 1.000 with them, .000 and .016 without. With half the
epochs (`--epochs 10`, seed 0) rare tasks end at .104, .010, .005 and .016, in the same order.
"""

from __future__ import annotations

import random
import string
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from understudy.errors import InputError
from understudy.numbers import check_number
from understudy.recipes.base import TextRecipe
from understudy.recipes.lion_roles import Inventor, Kind, Referee, Scores
from understudy.recipes.novelty import Known

TRIES = 20  # attempts at a new task for each that is wanted


class Judged(NamedTuple):
    """A task of the cache pool: both mean scores, t - s, and what follows."""

    task: str
    t: float
    s: float
    d: float
    kind: Kind


class Invented(NamedTuple):
    """A new task, what it was made of, and as which kind."""

    task: str
    seed: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Lion(TextRecipe):
    """Imitation, discrimination, generation.

    Attributes:
        rounds: K, times that tasks are judged and invented.
        tau: how far the student may fall behind before a task is hard.
        hard, easy: new tasks a round of either kind.
        threshold: ROUGE-L above which a new task is no new one; 1 lets all pass.
        least_words: that a new task must have.
        judged: how many of the cache pool are judged a round, drawn from the seed; None judges all.
        temperature: at which teacher and student answer (the referee at 0.2, the inventor at 1).
        max_tokens: of an answer.
        key_variable: name of the environment variable that holds the endpoint's API key; None sends none.
        workers: calls to an endpoint that are under way at once.
        referee, inventor: who stands in for the teacher in these roles.
    """

    rounds: int = 3
    tau: float = 1.0
    hard: int = 3000
    easy: int = 3000
    threshold: float = 0.7
    least_words: int = 4
    judged: int | None = None
    temperature: float = 0.7
    max_tokens: int = 1024
    key_variable: str | None = "OPENAI_API_KEY"
    workers: int = 4
    referee: Referee | None = None
    inventor: Inventor | None = None

    def __post_init__(self) -> None:
        check_number("tau", self.tau, -100.0, 100.0)
        for name, least in (("rounds", 0), ("hard", 0), ("easy", 0), ("least_words", 1), ("workers", 1)):
            check_number(name, getattr(self, name), least)
        for name in ("threshold", "temperature"):
            check_number(name, getattr(self, name), 0.0)
        check_number("max_tokens", self.max_tokens, 1)
        if self.judged is not None:
            check_number("judged", self.judged, 1)
        if self.hard + self.easy == 0 and self.rounds:
            raise InputError("a round invents no task with hard=0 and easy=0: say how many, or rounds=0")

    def chosen(self, pool: Sequence[str], seed: int) -> list[str]:
        """The tasks that are judged, in the pool's order."""
        if self.judged is None or self.judged >= len(pool):
            return list(pool)
        rows = random.Random(seed).sample(range(len(pool)), self.judged)
        return [pool[row] for row in sorted(rows)]

    def judge(
        self, referee: Referee, tasks: Sequence[str], teacher: Sequence[str], student: Sequence[str]
    ) -> list[Judged]:
        """The tasks with both answers' scores; without those that have none in one of the orders.

        Raises:
            InputError: the referee scores no task at all.
        """
        straight = _insisted(referee, tasks, teacher, student)
        turned = _insisted(referee, tasks, student, teacher)
        found = []
        for task, one, other in zip(tasks, straight, turned, strict=True):
            if one is not None and other is not None:
                t, s, d = difference(one, other)
                found.append(Judged(task, t, s, d, "hard" if d >= self.tau else "easy"))
        if not found:
            raise InputError(f"the referee gives no scores for any of {len(tasks)} tasks")
        return found

    def invent(
        self, inventor: Inventor, judged: Sequence[Judged], pool: Sequence[str], seed: int
    ) -> list[Invented]:
        """New tasks, `hard` and `easy` of them. Warns of those that could not be had."""
        sides = {kind: [one.task for one in judged if one.kind == kind] for kind in get_args(Kind)}
        wanted: dict[Kind, int] = {"hard": self.hard, "easy": self.easy}
        if not sides["hard"]:
            wanted = {"hard": 0, "easy": self.hard + self.easy}
        elif not sides["easy"]:
            wanted = {"hard": self.hard + self.easy, "easy": 0}
        known, draw, found = Known(pool), random.Random(seed), list[Invented]()
        for kind, count in wanted.items():
            found += self._filled(inventor, kind, sides[kind], count, known, draw)
        return found

    def _filled(
        self, inventor: Inventor, kind: Kind, seeds: list[str], count: int, known: Known, draw: random.Random
    ) -> list[Invented]:
        found: list[Invented] = []
        used: Counter[str] = Counter()
        left = TRIES * count
        while len(found) < count and left > 0:
            drawn = draw.choices(seeds, k=min(count - len(found), left))
            left -= len(drawn)
            numbers = []
            for task in drawn:
                numbers.append(used[task])
                used[task] += 1
            for task, made in zip(drawn, inventor.invent(drawn, kind, numbers), strict=True):
                if acceptable(made, self.least_words) and known.is_new(made, self.threshold):
                    known.add(made)
                    found.append(Invented(made, task, kind))
        if len(found) < count:
            warnings.warn(
                f"{len(found)} of {count} {kind} tasks could be invented in {TRIES * count} attempts"
            )
        return found


def difference(straight: Scores, turned: Scores) -> tuple[float, float, float]:
    """(t, s, t - s): the teacher's and the student's mean score, of the teacher first and of the student first."""
    t, s = (straight[0] + turned[1]) / 2, (straight[1] + turned[0]) / 2
    return t, s, t - s


def acceptable(task: str, least_words: int = 4) -> bool:
    """Whether a text can be a task: see the list in the head of this file."""
    return (
        len(task.split()) >= least_words
        and "instruction" not in task.lower()
        and task[0] in string.ascii_letters + string.digits
    )


def _insisted(
    referee: Referee, tasks: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> list[Scores | None]:
    """The referee's scores; those that fail are asked for again until that helps none of them."""
    found = referee.judge(tasks, first, second)
    draw, rows = 0, [row for row, scores in enumerate(found) if scores is None]
    while rows:
        draw += 1
        x, a, b = ([side[row] for row in rows] for side in (tasks, first, second))
        again = referee.judge(x, a, b, draw)
        for row, scores in zip(rows, again, strict=True):
            found[row] = scores
        before, rows = rows, [row for row in rows if found[row] is None]
        if len(rows) == len(before):
            break
    return found
