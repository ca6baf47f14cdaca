"""Distillation across tokenizers: what sorted confidences teach, and what they cannot.

The teacher reads Shakespeare byte by byte, the student in tokens of a vocabulary of 320. The student is trained on the
text alone (lambda = 0) and with the distance of sorted confidences, positions paired by their number in the answer as
in the paper ("index"), or where both models have read the same characters ("text").

Measured on text that neither has seen, where both have read the same characters: that distance, how far apart the
entropies of the two are, and the student's nats a byte.

    python examples/uld.py --seeds 3
    python examples/uld.py --file README.md --examples 64 --epochs 1 --seeds 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.text import TokenSet, from_running
from understudy.data.token_rows import meeting
from understudy.data.tokenizers import train_tokenizer
from understudy.objectives.sorted_distance import sorted_distance
from understudy.objectives.tokens import next_token_loss

LENGTH, PROMPT, VOCABULARY = 24, 4, 320


def split(file: str | None) -> tuple[str, str]:
    """The text for training and the text for testing."""
    if file is not None:
        text = Path(file).read_text(encoding="utf-8")
        return text[: len(text) // 2], text[len(text) // 2 :]
    parts = [us.load_data("tinyshakespeare[length=64]", part) for part in ("train", "test")]
    found = ["".join("".join(pair) for pair in part.pairs) for part in parts if isinstance(part, TokenSet)]
    return found[0], found[1]


def entropy(logits: Tensor) -> Tensor:
    """Of softmax(logits), in nats."""
    said = logits.log_softmax(-1)
    return -(said.exp() * said).sum(-1)


@torch.no_grad()
def measured(teacher: nn.Module, student: nn.Module, texts: TokenSet) -> dict[str, float]:
    """On the first 512 pieces."""
    rows = slice(0, min(512, len(texts)))
    views, masks = texts.views(rows), texts.masks(rows)
    ours, theirs = (masks[name] for name in meeting("clean", "teacher"))
    s, t = student(views["clean"])[ours], teacher(views["teacher"])[theirs]
    loss = next_token_loss(student(views["clean"]), views["clean"], masks["clean"]) * masks["clean"].sum(1)
    written = sum(len(pair.answer.encode()) for pair in texts.pairs[rows])
    return {
        "distance": sorted_distance(t, s).mean().item(),
        "|H(s) - H(t)|": (entropy(s) - entropy(t)).abs().mean().item(),
        "nats a byte": loss.sum().item() / written,
    }


def main() -> None:
    """Print one row a seed and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help="a text of your own, instead of tinyshakespeare")
    parser.add_argument("--examples", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    train, test = split(given.file)
    read, merged = train_tokenizer([]), train_tokenizer([train], VOCABULARY)
    sizes = {"batch_size": 64, "device": "cpu", "epochs": given.epochs, "lr": 1e-2}
    letters = from_running(train, read, length=2 * LENGTH).take(given.examples)
    teacher = us.train(letters, "lm[2,48,4]", **sizes).student
    pieces, held_out = (
        from_running(text, merged, length=LENGTH, prompt=PROMPT).take(given.examples).beside("teacher", read)
        for text in (train, test)
    )
    methods = {"text alone": {"lam": "0"}, "index": {}, "text": {"align": "text"}}
    for seed in range(given.seeds):
        for name, options in methods.items():
            run = us.distill(teacher, "lm[1,32,2]", pieces, method="uld", options=options, seed=seed, **sizes)
            values = measured(teacher, run.student, held_out)
            print(f"seed {seed}, {name}: " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()), flush=True)


if __name__ == "__main__":
    main()
