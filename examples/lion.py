"""Distilling a black box by asking for more of what the student cannot do yet, where all three roles are programs.

The teacher is a program with four skills on words of three letters; nine tenths of the tasks at the start ask for the
first of them. The referee gives ten points for the teacher's answer, fewer the more letters are wrong. New tasks keep
the skill of the task they are made of, with another word.

Four ways to choose what new tasks are made of, at the same number of training examples: "lion" (half hard, half easy),
"uniform" (everything counts as hard, so seeds are drawn from all tasks), "turned" (the scores of teacher and student
swapped) and "hard only". Printed a seed and way: the share of the rare skills among new tasks, round by round, and the
accuracy on new tasks of the first skill and of the others.

    python examples/lion.py
    python examples/lion.py --tasks 40 --new 10 --rounds 1 --epochs 1 --seeds 0 --test 8
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import understudy as us
from understudy.data.text import from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.recipes.lion import Lion
from understudy.recipes.lion_roles import Inventor, Kind, Referee, Scores
from understudy.teachers.black_box import LocalTeacher, TextTeacher

LETTERS = "abcdefgh"
SKILLS = {"copy": 0, "next": 1, "back": -1, "skip": 3}  # each letter is answered by the one so many places on
COMMON = "copy"


def done(skill: str, word: str) -> str:
    """The word as the skill makes it."""
    return "".join(LETTERS[(LETTERS.index(x) + SKILLS[skill]) % len(LETTERS)] for x in word)


def made(skill: str, draw: random.Random) -> str:
    """A task: what to do, and the word."""
    return f"{skill} " + "".join(draw.choices(LETTERS, k=3)) + " ="


class Program(TextTeacher):
    """Does what a task says."""

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        """The word that a task asks for."""
        return [done(skill, word) for skill, word, _ in map(str.split, prompts)]


class Letters(Referee):
    """Ten points for the right answer, three fewer for each letter that is wrong; `turned` gives them to the other."""

    def __init__(self, turned: bool = False) -> None:
        self.turned = turned

    def judge(
        self, tasks: Sequence[str], first: Sequence[str], second: Sequence[str], draw: int = 0
    ) -> list[Scores | None]:
        """Scores of both."""
        found: list[Scores | None] = []
        for right, *said in zip(Program().answer(tasks), first, second, strict=True):
            points = [
                10.0 - 3 * sum(a != b for a, b in zip(right, own.ljust(3)[:3], strict=True)) for own in said
            ]
            found.append((points[1], points[0]) if self.turned else (points[0], points[1]))
        return found


class SameSkill(Inventor):
    """Another word for the same skill."""

    def invent(self, tasks: Sequence[str], kind: Kind, draws: Sequence[int]) -> list[str]:
        """A task for each."""
        pairs = zip(tasks, draws, strict=True)
        return [made(task.split()[0], random.Random(f"{task}{kind}{draw}")) for task, draw in pairs]


def main() -> None:
    """Print one row a seed and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--new", type=int, default=60, help="tasks a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--test", type=int, default=64, help="tasks a skill")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    tokenizer, half = train_tokenizer([]), given.new // 2
    plain = Lion(
        rounds=given.rounds, hard=half, easy=half, threshold=0.99, least_words=3, temperature=0.0, max_tokens=4,
        referee=Letters(), inventor=SameSkill(),
    )  # fmt: skip
    ways = {
        "lion": plain,
        "uniform": replace(plain, tau=-100.0, hard=2 * half, easy=0),
        "turned": replace(plain, referee=Letters(turned=True)),
        "hard only": replace(plain, hard=2 * half, easy=0),
    }
    for seed in given.seeds:
        draw = random.Random(seed)
        rare = [skill for skill in SKILLS if skill != COMMON]
        tasks = [made(COMMON if draw.random() < 0.9 else draw.choice(rare), draw) for _ in range(given.tasks)]
        pool = from_pairs([(task, "?") for task in dict.fromkeys(tasks)], tokenizer, name="skills", length=16)
        test = {skill: [made(skill, draw) for _ in range(given.test)] for skill in SKILLS}
        start = sum(not task.startswith(COMMON) for task in tasks) / len(tasks)
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as place:
                run = us.distill(
                    Program(), "lm[2,48,4]", pool, method=way, out=Path(place) / "run", seed=seed,
                    epochs=given.epochs, batch_size=16, lr=5e-3, device="cpu",
                )  # fmt: skip
                shares = []
                for number in range(given.rounds):
                    file = Path(place) / "run" / "rounds" / str(number) / "new.jsonl"
                    new = [json.loads(line)["task"] for line in file.read_text().splitlines()]
                    shares.append(sum(not task.startswith(COMMON) for task in new) / len(new))
            student = LocalTeacher(run.student, tokenizer, temperature=0.0, max_tokens=4)
            right = {
                skill: sum(a == b for a, b in zip(student.answer(own), Program().answer(own), strict=True))
                / len(own)
                for skill, own in test.items()
            }
            weak = sum(right[skill] for skill in rare) / len(rare)
            print(
                f"seed {seed}, {name}: rare {start:.2f}, "
                + ", ".join(f"{x:.2f}" for x in shares)
                + f"; accuracy {COMMON} {right[COMMON]:.3f}, rare {weak:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
