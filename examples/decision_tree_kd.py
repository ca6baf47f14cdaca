"""Does a network's softened answer grow a better tree than the labels do?

Distillation into a decision tree (arXiv 1812.10924) on digits: a network of 64 hidden units teaches trees of several
depths by its probabilities (T = 1), by softened ones (T = 4), and by softened ones on noisy copies too; the tree of the
labels alone, grown to the same depth, is what they are held against. Prints test accuracies, averaged over splits, then
for the last depth how near the tree comes to its teacher, and one tree's explanation of one answer.

    python examples/decision_tree_kd.py
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.models.estimators.tree import in_words
from understudy.objectives.divergences import kl

TREES: dict[str, dict[str, str]] = {
    "labels alone": {"alpha": "0"},
    "T = 1": {"temperature": "1"},
    "T = 4": {"temperature": "4"},
    "T = 4, 5 noisy copies": {"temperature": "4", "copies": "5"},
}


def split(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels of 1,200 digits to learn from, and of the other 597."""
    parts = [load_data("digits", name) for name in ("train", "test")]
    inputs = torch.cat([part.inputs(slice(None)) for part in parts])
    labels = torch.cat([part.labels for part in parts if part.labels is not None])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    inputs, labels = inputs[order], labels[order]
    return inputs[:1200], labels[:1200], inputs[1200:], labels[1200:]


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    return (model(inputs).argmax(1) == labels).double().mean().item()


@torch.no_grad()
def apart(teacher: nn.Module, student: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """(share of inputs on which both name one class, mean KL(teacher || student) in nats)."""
    t, s = teacher(inputs), student(inputs)
    return (t.argmax(1) == s.argmax(1)).double().mean().item(), kl(t, s).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--depths", default="4,6,8,10")
    args = parser.parse_args()
    depths = args.depths.split(",")
    right: dict[tuple[str, str], list[float]] = {(name, depth): [] for name in TREES for depth in depths}
    near: dict[str, list[tuple[float, float]]] = {name: [] for name in TREES}
    taught = []
    for seed in range(args.splits):
        x, y, new, new_y = split(seed)
        space = {"valid_range": (0.0, 1.0), "seed": seed}
        teacher = us.train((x, y), "mlp[64]", epochs=args.epochs, lr=4e-3, **space).student
        taught.append(accuracy(teacher, new, new_y))
        for name, options in TREES.items():
            for depth in depths:
                tree = us.distill(
                    teacher, None, (x, y), method="decision_tree_kd", options={**options, "depth": depth}, **space
                ).student  # fmt: skip
                right[name, depth].append(accuracy(tree, new, new_y))
            near[name].append(apart(teacher, tree, new))
    print(f"teacher {100 * sum(taught) / len(taught):.1f} %; test accuracy % at depth {' / '.join(depths)}:")
    for name in TREES:
        means = [100 * sum(right[name, depth]) / args.splits for depth in depths]
        agree, nats = (sum(pair[i] for pair in near[name]) / args.splits for i in range(2))
        print(
            f"  {name:<22} {' / '.join(f'{mean:.1f}' for mean in means)}   "
            f"at depth {depths[-1]}: agreement {100 * agree:.1f} %, KL {nats:.2f}"
        )
    said = int(tree(new[:1]).argmax())
    print(
        f"the last tree says {said} because {in_words(tree.path(new[0]), [f'pixel {i}' for i in range(64)])}"
    )


if __name__ == "__main__":
    main()
