"""Several labels an example: what does each part of L2D teach?

Mosaics of one to four digits, labelled with all that they hold. A teacher learns from the labels; smaller students
learn from the labels alone (`bce`), from the teacher's answers alone, told label by label (`answers`) or wrongly as one
softmax over labels that go together (`softmax`), from the labels and how an example's labels lie to one another
(`bce + ID`), and from all of L2D, with embeddings at a hundredth of the paper's weights and at the paper's. Prints mean
average precision on test data, and how well the distances between the labels of an example (of three or more) follow
the teacher's, as a rank correlation.

    python examples/l2d_multi_label.py
"""

from __future__ import annotations

import argparse
import statistics

import torch
from scipy.stats import spearmanr
from torch import nn

import understudy as us
from understudy.data import DataSet
from understudy.data.resolve import load_data
from understudy.methods.labels.binary_relevance import BinaryRelevance
from understudy.methods.labels.l2d import L2D
from understudy.objectives.average_precision import average_precision

BATCH = 64
PLANS: dict[str, us.Objective] = {
    "bce": BinaryRelevance(),
    "answers": L2D(
        hard_weight=0, lambda_mld=BATCH, lambda_cd=0, lambda_id=0
    ),  # one KL an example, as the next
    "softmax": us.SoftTargets(),
    "bce + ID": L2D(lambda_mld=0, lambda_cd=0, lambda_id=10),
    "L2D / 100": L2D(lambda_cd=1, lambda_id=10),
    "L2D": L2D(),
}


@torch.no_grad()
def mean_average_precision(model: nn.Module, test: DataSet) -> float:
    assert test.labels is not None
    return average_precision(model(test.inputs(slice(None))), test.labels).nanmean().item()


@torch.no_grad()
def distances(model: nn.Module, test: DataSet) -> list[torch.Tensor]:
    """Of each example with three labels or more: the distances between their embeddings."""
    assert test.labels is not None
    embeddings = model[: [name for name, _ in model.named_children()].index("head")](test.inputs(slice(None)))
    rows = (test.labels.sum(1) >= 3).nonzero().flatten().tolist()
    return [torch.pdist(embeddings[row, test.labels[row] == 1]) for row in rows]


def alike(teacher: nn.Module, student: nn.Module, test: DataSet) -> float:
    """Rank correlation of their distances, each over its example's mean; NaN where the student's are all the same."""
    sides = [[d / d.mean().clamp(min=1e-12) for d in distances(model, test)] for model in (teacher, student)]
    one, other = (torch.cat(side) for side in sides)
    return float(spearmanr(one, other).statistic) if other.std() > 0 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--teacher-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6, help="of each student")
    parser.add_argument("--examples", type=int, default=4000, help="that students see")
    args = parser.parse_args()
    test = load_data("digit_mosaic", "test")
    found: dict[str, list[tuple[float, float]]] = {plan: [] for plan in args.plans}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        settings = {"seed": seed, "batch_size": BATCH, "lr": 5e-3}
        teacher = us.train(
            "digit_mosaic", "label_cnn[16,32]", method="bce", epochs=args.teacher_epochs, **settings
        ).student
        print(f"seed {seed}: the teacher's mAP is {mean_average_precision(teacher, test):.3f}")
        for plan in args.plans:
            student = us.distill(
                teacher, "label_cnn[4,8]", "digit_mosaic", method=PLANS[plan], epochs=args.epochs,
                examples=args.examples, **settings,
            ).student  # fmt: skip
            found[plan].append((mean_average_precision(student, test), alike(teacher, student, test)))
            print(f"  {plan:10}mAP {found[plan][-1][0]:.3f}, distances {found[plan][-1][1]:.3f}", flush=True)
    print("means over the seeds")
    for plan, rows in found.items():
        precise, like = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(f"  {plan:10}mAP {precise:.3f}, distances {like:.3f}")


if __name__ == "__main__":
    main()
