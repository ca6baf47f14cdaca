"""What does a student lose when only a dozen of the teacher's classes are kept?

RS-KD (arXiv 2503.16870) on the words of Shakespeare: the next of the 500 commonest words from the two before it. The
student learns from all of the teacher's logits, from the twelve likeliest classes, or from fifty draws (about as many
distinct classes). Prints, for every seed, on text that nobody trained on: KL from the teacher, the student's mean
confidence and accuracy, its calibration error, and how much probability it gives to what lies outside the teacher's
twelve likeliest classes, beside what the teacher gives to it.

    UNDERSTUDY_DATA=... python examples/sparse_logit_sampling.py
"""

from __future__ import annotations

import argparse
import os
import random
import re
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

import understudy as us
from understudy.fidelity.calibration import ece
from understudy.objectives.divergences import kl

KEPT = 12


def words_of(path: Path | None, count: int) -> list[str]:
    """The text's words; without a file, words of a made-up language in which some follow others."""
    if path is not None:
        return re.findall(r"[a-z']+", path.read_text(encoding="utf-8").lower())[:count]
    draw, words = random.Random(0), ["w0"]
    for _ in range(count):
        words.append(f"w{(7 * int(words[-1][1:]) + int(draw.expovariate(0.05))) % 600}")
    return words


def as_data(words: list[str], known: dict[str, int], split: str) -> us.DataSet:
    """Two words, one-hot side by side, and the word after them."""
    size = len(known) + 1
    ids = torch.tensor([known.get(word, size - 1) for word in words])
    inputs = torch.zeros(len(ids) - 2, 2 * size, dtype=torch.uint8)
    inputs.scatter_(1, ids[:-2, None], 1).scatter_(1, size + ids[1:-1, None], 1)
    return us.DataSet("two words", split, inputs, ids[2:], classes=size)


@torch.no_grad()
def said(model: nn.Module, data: us.DataSet) -> Tensor:
    return model(data.inputs(slice(None)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=40_000)
    parser.add_argument("--vocabulary", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--made-up", action="store_true", help="a made-up language, where there are no data")
    args = parser.parse_args()
    path = None if args.made_up else Path(os.environ["UNDERSTUDY_DATA"]) / "tinyshakespeare" / "input.txt"
    words = words_of(path, args.words)
    cut = len(words) * 4 // 5
    common = [word for word, _ in Counter(words[:cut]).most_common(args.vocabulary - 1)]
    known = {word: i for i, word in enumerate(common)}
    data, fresh = as_data(words[:cut], known, "train"), as_data(words[cut:], known, "test")
    for seed in range(args.seeds):
        settings = {"seed": seed, "epochs": args.epochs, "lr": 2e-3, "batch_size": 256}
        teacher = us.train(data, "mlp[128]", **settings).student
        taught = said(teacher, fresh)
        likeliest = torch.ones_like(taught).scatter_(1, taught.topk(KEPT).indices, 0.0)
        tail = (taught.softmax(1) * likeliest).sum(1).mean()
        for name, method, options in (
            ("all", "kd", {}),
            ("sampled", "sparse_logit_sampling", {"draws": "50"}),
            ("top-k", "sparse_logit_sampling", {"keeping": "top-k", "k": str(KEPT)}),
        ):
            student = us.distill(teacher, "mlp[64]", data, method=method, options=options, **settings).student
            own = said(student, fresh)
            sure, right = own.softmax(1).amax(1).mean(), (own.argmax(1) == fresh.labels).double().mean()
            assert fresh.labels is not None
            print(
                f"seed {seed} {name:8}: KL {kl(taught, own).mean():.4f}, sure {sure:.3f}, right {right:.3f}, "
                f"calibration error {ece(own, fresh.labels):.3f}, "
                f"tail {(own.softmax(1) * likeliest).sum(1).mean():.3f} of the teacher's {tail:.3f}"
            )


if __name__ == "__main__":
    main()
