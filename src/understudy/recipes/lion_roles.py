"""Who judges and who invents in `lion`: a chat model in both roles, or whatever stands in for it."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from understudy.teachers.black_box import TextTeacher

Kind = Literal["hard", "easy"]
Scores = tuple[float, float]

JUDGE = """You check precisely how good answers are. Here is a task, and what two assistants answered.

[Task]
{task}

[Assistant 1]
{first}

[Assistant 2]
{second}

Judge how helpful, relevant, accurate and detailed each answer is, and give each one score from 1 to 10 in all. Explain
yourself first, and see to it that the order of the answers does not sway you. Then end with these two lines:
Score of the Assistant 1: <number>
Score of the Assistant 2: <number>"""

INVENT = {
    "hard": """Invent one new task in the same field as the task below, and of the same type. It is to be about as long
and as difficult, make sense, and have an answer. Reply with the new task alone, and do not mention this one.

[Task]
{task}""",
    "easy": """Invent one new task in the same field as the task below, but an even rarer one; its type may be another.
It is to be about as long and as difficult, make sense, and have an answer. Reply with the new task alone, and do not
mention this one.

[Task]
{task}""",
}
LINE = re.compile(r"assistant\s*([12])[^:]*:\s*\**\s*(-?\d+(?:\.\d+)?)", re.IGNORECASE)


class Referee(ABC):
    """Scores two answers to each task."""

    @abstractmethod
    def judge(
        self, tasks: Sequence[str], first: Sequence[str], second: Sequence[str], draw: int = 0
    ) -> list[Scores | None]:
        """(score of the first, of the second) a task; None where no scores came out."""


class Inventor(ABC):
    """Makes new tasks of old ones."""

    @abstractmethod
    def invent(self, tasks: Sequence[str], kind: Kind, draws: Sequence[int]) -> list[str]:
        """One new task for each; `draws` numbers those that are made of the same one. "" is none."""


@dataclass(frozen=True, eq=False)
class ChatReferee(Referee):
    """A text teacher as the referee."""

    teacher: TextTeacher

    def judge(
        self, tasks: Sequence[str], first: Sequence[str], second: Sequence[str], draw: int = 0
    ) -> list[Scores | None]:
        """As its replies end."""
        every = zip(tasks, first, second, strict=True)
        asked = [JUDGE.format(task=x, first=a, second=b) for x, a, b in every]
        return [parse_scores(reply) for reply in self.teacher.answer(asked, draw)]


@dataclass(frozen=True, eq=False)
class ChatInventor(Inventor):
    """A text teacher as the one who invents."""

    teacher: TextTeacher

    def invent(self, tasks: Sequence[str], kind: Kind, draws: Sequence[int]) -> list[str]:
        """Its replies, without the blanks around them."""
        found = [""] * len(tasks)
        for draw in sorted(set(draws)):
            rows = [row for row, own in enumerate(draws) if own == draw]
            replies = self.teacher.answer([INVENT[kind].format(task=tasks[row]) for row in rows], draw)
            for row, reply in zip(rows, replies, strict=True):
                found[row] = reply.strip()
        return found


def parse_scores(reply: str) -> Scores | None:
    """The scores in a referee's reply: the last line for each assistant counts, whatever follows; else None."""
    found: dict[str, float] = {}
    for line in reply.splitlines():
        if (match := LINE.search(line)) is not None and "score" in line.lower():
            found[match[1]] = float(match[2])
    if found.keys() != {"1", "2"} or not all(math.isfinite(x) and 0 <= x <= 10 for x in found.values()):
        return None
    return found["1"], found["2"]
