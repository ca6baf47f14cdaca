"""Can a network that reads single nodes learn what a graph network knows from their neighbours?

FF-G2M (arXiv 2305.10758) on Cora: a graph convolutional teacher, students that see one node's words and no edge. Each
student is trained alike but for what it is taught. Prints, for every seed, how often each is right on the test nodes,
how often it says what the teacher says there, and how far apart it holds neighbours in the whole graph (mean distance
of confidences over the edges, which the teacher's neighbours set). The last rows teach with the answers of other nodes.

    UNDERSTUDY_DATA=... python examples/ff_g2m.py
    python examples/ff_g2m.py --data made-up
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.graphs import labelled_nodes
from understudy.data.resolve import load_data
from understudy.methods.graphs.ff_g2m import FFG2M
from understudy.objectives.graphs import high_frequency


class Said(nn.Module):
    """A teacher that was asked once: its logits (N, C), whatever is asked."""

    logits: torch.Tensor

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.nodes = len(logits)
        self.register_buffer("logits", logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


def made_up(split: str) -> DataSet:
    """Three groups of 30 nodes, edges within each, features that tell the groups badly; two labels a group."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(90) % 3
    features = 0.2 + 0.5 * torch.rand(90, 12, generator=generator)
    features[torch.arange(90), group] += 0.25
    near = torch.rand(90, 90, generator=generator) < 0.3
    one = (near & (group[:, None] == group[None, :])).triu(1).nonzero().T
    here = (torch.arange(90) < 6) == (split == "train")
    labels = torch.where(here, group, torch.full_like(group, -1))
    edges = torch.cat((one, one.flip(0)), 1)
    return DataSet("made-up", split, features, labels, classes=3, partly=True, edges=edges)


@torch.no_grad()
def measured(name: str, logits: torch.Tensor, teacher: torch.Tensor, test: DataSet) -> str:
    """One row: test accuracy, agreement on the test nodes, distance along edges, KL of differences along edges."""
    rows, labels, edges = labelled_nodes(test), test.labels, test.edges
    assert labels is not None
    assert edges is not None
    right = (logits[rows].argmax(1) == labels[rows]).double().mean()
    agrees = (logits[rows].argmax(1) == teacher[rows].argmax(1)).double().mean()
    p = logits.softmax(1)
    apart = (p[edges[0]] - p[edges[1]]).abs().sum(1).mean()
    drowned = high_frequency(teacher, logits, edges, 1.5).mean()
    return f"  {name:24s} {right:8.3f} {agrees:9.3f} {apart:9.3f} {drowned:10.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cora")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    train, test = (
        made_up(split) if args.data == "made-up" else load_data(args.data, split)
        for split in ("train", "test")
    )
    features = train.inputs(slice(None))
    plain = {"lr": 0.01, "weight_decay": 5e-4, "schedule": "constant", "epochs": args.epochs}
    taught: dict[str, us.Objective] = {
        "labels alone": us.CrossEntropy(),
        "GLNN (teacher at i)": 0.4 * us.CrossEntropy() + 0.6 * us.SoftTargets(),
        "labels + high": FFG2M(low=0.0),
        "high, no label": FFG2M(low=0.0, lambda_hard=0.0),
        "labels + low": FFG2M(high=0.0),
        "FF-G2M": FFG2M(),
        "labels + low, shuffled": FFG2M(high=0.0),
        "FF-G2M, shuffled": FFG2M(),
    }
    for seed in args.seeds:
        print(f"seed {seed}{'':20s} accuracy agreement  distance  difference")
        gcn = us.train(train, f"gcn[{args.width},2,50]", seed=seed, **plain).student
        with torch.no_grad():
            teacher = gcn(features)
        print(measured("teacher", teacher, teacher, test))
        mixed = teacher[torch.randperm(len(teacher), generator=torch.Generator().manual_seed(seed))]
        for name, method in taught.items():
            said = Said(mixed if "shuffled" in name else teacher)
            spec = f"dropout_mlp[{args.width},2,60]"
            student = us.distill(said, spec, train, method=method, seed=seed, **plain).student
            with torch.no_grad():
                print(measured(name, student(features), teacher, test), flush=True)


if __name__ == "__main__":
    main()
