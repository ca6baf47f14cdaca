"""On-policy distillation of a language model: the same divergence on given text and on the student's own.

A teacher reads Shakespeare byte by byte; a student of a tenth of its size is trained on the same text, and then
distilled twice from there, with the same steps: on the text (lambda = 0) and on what it writes itself (lambda = 1).
Both are then measured on text that neither has seen, and on what each writes to its prompts.

    python examples/gkd.py --seeds 3
    python examples/gkd.py --file README.md --examples 64 --epochs 1 --seeds 1
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import nn

import understudy as us
from understudy.data.text import TokenSet, from_running
from understudy.data.tokenizers import train_tokenizer
from understudy.models.language import reader_of
from understudy.models.language_sampling import continued
from understudy.objectives.divergences_family import divergence

LENGTH, PROMPT = 32, 8


def split(file: str | None, split: str) -> TokenSet:
    """Pieces of 32 bytes, of which 8 are given."""
    if file is None:
        found = us.load_data(f"tinyshakespeare[length={LENGTH},prompt={PROMPT}]", split)
        assert isinstance(found, TokenSet)
        return found
    text = Path(file).read_text(encoding="utf-8")
    half = len(text) // 2
    part = text[:half] if split == "train" else text[half:]
    return from_running(part, train_tokenizer([]), name="text", split=split, length=LENGTH, prompt=PROMPT)


@torch.no_grad()
def measured(teacher: nn.Module, student: nn.Module, texts: TokenSet) -> dict[str, float]:
    """Divergences in nats a token: on the text, and on what the student writes to its prompts."""
    rows = slice(0, min(512, len(texts)))
    given = texts.inputs(rows)
    drawn = torch.rand(given.shape, generator=torch.Generator().manual_seed(0))
    own, _ = continued(reader_of(student), given, torch.full((len(given),), PROMPT), drawn)
    answers = slice(PROMPT - 1, LENGTH - 1)
    found = {}
    for name, tokens in (("text", given), ("own", own)):
        t, s = (model(tokens)[:, answers] for model in (teacher, student))
        found[f"KL(t, s) {name}"] = divergence(t, s, "forward_kl").mean().item()
        reverse = divergence(t, s, "reverse_kl").mean(0)
        found[f"KL(s, t) {name}"] = reverse.mean().item()
        if name == "own":
            said = t.log_softmax(2).gather(2, tokens[:, PROMPT:, None])[..., 0]
            found["teacher's nats on own"] = -said.mean().item()
            found["KL(s, t) own, first 5"], found["last 5"] = (
                reverse[:5].mean().item(),
                reverse[-5:].mean().item(),
            )
    return found


def main() -> None:
    """Print one row a seed and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help="a text of your own, instead of tinyshakespeare")
    parser.add_argument("--examples", type=int, default=2048)
    parser.add_argument(
        "--epochs", type=int, default=2, help="of distillation; the teacher takes four times as many"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--beta", default="0.5")
    given = parser.parse_args()
    train, test = split(given.file, "train").take(given.examples), split(given.file, "test")
    sizes = {"batch_size": 64, "device": "cpu"}
    teacher = us.train(train, "lm[2,48,4]", epochs=4 * given.epochs, lr=1e-2, **sizes).student
    for seed in range(given.seeds):
        start = us.train(train, "lm[1,16,2]", epochs=2 * given.epochs, lr=1e-2, seed=seed, **sizes).student
        students = {"start": start}
        for lam in ("0", "1"):
            how = {
                "options": {"lam": lam, "beta": given.beta},
                "epochs": given.epochs,
                "lr": 3e-3,
                "seed": seed,
            }
            run = us.distill(teacher, copy.deepcopy(start), train, method="gkd", **how, **sizes)
            students[f"lambda {lam}"] = run.student
        for name, student in students.items():
            values = measured(teacher, student, test)
            print(f"seed {seed}, {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)


if __name__ == "__main__":
    main()
