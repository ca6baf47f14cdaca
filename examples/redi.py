"""What wrong answers teach: a student of a program's sums, trained on the right ones, then pushed off the wrong ones.

The teacher is a program that adds numbers column by column and writes its steps; it forgets, or makes up, a carry in
some attempts. A verifier looks at the result alone. A small language model is trained on right attempts (stage 1) and
goes on with pairs of a right and a wrong attempt (stage 2): alpha = 0.8, alpha = 0 (the same steps on the same right
attempts), and the two swapped. With ten times the learning rate alpha = 1 and 0.8 are held against each other as well.

Printed a seed: the share of new sums that are right, and the mean log-probability a token of new right and wrong
attempts (collapse: both fall).

    python examples/redi.py
    python examples/redi.py --problems 64 --epochs 1 --seeds 0 --test 32
"""

from __future__ import annotations

import argparse
import copy
import random

import torch
from torch import nn

import understudy as us
from understudy.data.text import TokenSet, from_pairs
from understudy.data.tokenizers import Tokenizer, train_tokenizer
from understudy.data.traces import Problem, Trace, Triple, divide, from_triples
from understudy.methods.language.redi import REDI
from understudy.models.language import reader_of
from understudy.models.language_sampling import continued
from understudy.objectives.tokens import next_token_loss

DIGITS = 3
WRONG = 0.4  # of the attempts have one carry wrong


def columns(a: int, b: int) -> str:
    """What is given, column by column from the last one on: "58 72 41 =" for 475 + 128."""
    return "".join(f"{a // 10**i % 10}{b // 10**i % 10} " for i in range(DIGITS)) + "="


def attempt(a: int, b: int, wrong_at: int | None) -> str:
    """The steps of a + b, "13 10 06 ": each column's carry and digit. The carry at `wrong_at` is turned."""
    steps, carry = [], 0
    for column in range(DIGITS):
        carry, digit = divmod(a // 10**column % 10 + b // 10**column % 10 + carry, 10)
        carry = 1 - carry if column == wrong_at else carry
        steps.append(f"{carry}{digit} ")
    return "".join(steps)


def right(prompt: str, text: str) -> bool:
    """The verifier: whether the sum that can be read off the steps is that of the numbers given."""
    a, b = (int(prompt[side : 3 * DIGITS : 3][::-1]) for side in (0, 1))
    return text[1::3][::-1] == f"{a + b:0{DIGITS + 1}d}"[1:] and text[-3:-2] == f"{a + b:0{DIGITS + 1}d}"[0]


def problems(count: int, attempts: int, seed: int) -> list[Problem]:
    """Sums with attempts at them, verified."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        a, b = (draw.randrange(10**DIGITS) for _ in range(2))
        prompt = columns(a, b)
        texts = [
            attempt(a, b, draw.randrange(DIGITS) if draw.random() < WRONG else None) for _ in range(attempts)
        ]
        found.append(Problem(prompt, tuple(Trace(text, right(prompt, text)) for text in texts)))
    return found


@torch.no_grad()
def measured(student: nn.Module, test: TokenSet, tokenizer: Tokenizer) -> dict[str, float]:
    """Right answers in greedy writing; mean log-probability a token of good and bad attempts."""
    tokens, begin = test.inputs(slice(None)), test.tokens["clean"].begin
    written, stop = continued(
        reader_of(student), tokens, begin, torch.zeros(tokens.shape), temperature=0.0, end=tokenizer.end
    )
    ends = zip(written.tolist(), begin.tolist(), stop.tolist(), test.pairs, strict=True)
    correct = [right(pair.prompt, tokenizer.decode(row[first:last])) for row, first, last, pair in ends]
    views, masks = test.views(slice(None)), test.masks(slice(None))
    scores = {
        f"log p {name}": -next_token_loss(student(views[view]), views[view], masks[view]).mean().item()
        for name, view in (("right", "clean"), ("wrong", "bad"))
    }
    return {"accuracy": sum(correct) / len(correct), **scores}


def main() -> None:
    """Print one row a seed and student."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=24, help="of stage 1; stage 2 takes two")
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--lr", type=float, default=5e-3, help="of stage 1; stage 2 takes a fiftieth")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    tokenizer = train_tokenizer([])
    length = 6 * DIGITS + 2  # prompt, steps and the end token
    pairs, triples = divide(problems(given.problems, 4, seed=0))
    held_out = divide(problems(given.test, 8, seed=1))[1]
    first = from_pairs(pairs, tokenizer, length=length)
    second = from_triples(triples, tokenizer, length=length)
    swapped = from_triples([Triple(x.prompt, x.bad, x.good) for x in triples], tokenizer, length=length)
    test = from_triples(held_out, tokenizer, length=length)
    print(f"{len(first)} right attempts, {len(second)} pairs, {len(test)} new sums", flush=True)
    sizes = {"batch_size": 32, "device": "cpu"}
    stages = {
        "alpha 0.8": (0.8, second, 1),
        "alpha 0": (0.0, second, 1),
        "alpha 0.8, swapped": (0.8, swapped, 1),
        "alpha 0.8, lr x 10": (0.8, second, 10),
        "alpha 1, lr x 10": (1.0, second, 10),
    }
    for seed in given.seeds:
        start = us.train(first, "lm[2,48,4]", epochs=given.epochs, lr=given.lr, seed=seed, **sizes).student
        students = {"stage 1": start}
        for name, (alpha, data, faster) in stages.items():
            how = {"epochs": 2, "lr": faster * given.lr / 50, "seed": seed, **sizes}
            run = us.distill(None, copy.deepcopy(start), data, method=REDI(alpha=alpha), **how)
            students[name] = run.student
        for name, student in students.items():
            values = measured(student, test, tokenizer)
            print(f"seed {seed}, {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)


if __name__ == "__main__":
    main()
