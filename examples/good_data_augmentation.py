"""Which data augmentation is good for distillation, and does the teacher alone tell?

For every augmentation: T.stddev, measured on the teacher before any training (lower should be better), and how far the
student that it teaches is from the teacher on test data. `picked` is CutMixPick, `least` its control, which keeps what
the teacher is surest of; `identity` shows the same images twice, at the same weights.

    python examples/good_data_augmentation.py
    python examples/good_data_augmentation.py --data fashion_mnist --examples 5000 --epochs 12
"""

from __future__ import annotations

import argparse
import statistics

import torch
from scipy.stats import spearmanr
from torch import nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.fidelity import teacher_stddev
from understudy.methods import make_method
from understudy.objectives.divergences import kl

PLANS: dict[str, dict[str, str]] = {
    **{
        kind: {"augmentation": kind, "runs": "1"}
        for kind in ("identity", "flip", "shift", "cutout", "mixup", "cutmix")
    },
    "picked": {},
    "least": {"keep": "least"},
}


@torch.no_grad()
def apart(teacher: nn.Module, student: nn.Module, inputs: torch.Tensor) -> float:
    """Mean of T^2 KL(teacher || student), T = 4, in nats."""
    return 16 * kl(teacher(inputs), student(inputs), 4.0).mean().item()


@torch.no_grad()
def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return (model(inputs).argmax(1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--examples", type=int, default=400, help="of the training data")
    parser.add_argument("--epochs", type=int, default=40, help="of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--teacher", default="cnn[16,32,100]")
    parser.add_argument("--student", default="cnn[8,16,32]")
    args = parser.parse_args()
    data, held_out = (
        load_data(args.data, "train").take(args.examples),
        load_data(args.data, "test").take(2000),
    )
    test, labels = held_out.inputs(slice(None)), held_out.labels
    assert labels is not None
    deviation: dict[str, list[float]] = {plan: [] for plan in args.plans}
    loss: dict[str, list[float]] = {plan: [] for plan in args.plans}
    right: dict[str, list[float]] = {plan: [] for plan in args.plans}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        settings = {"seed": seed, "epochs": args.epochs, "lr": 3e-3, "batch_size": 64}
        teacher = us.train(data, args.teacher, **settings).student
        print(f"seed {seed}: the teacher's accuracy is {accuracy(teacher, test, labels):.3f}")
        for plan in args.plans:
            method = make_method("good_data_augmentation", PLANS[plan])
            student = us.distill(teacher, args.student, data, method=method, **settings).student
            source = method.source(data.low, data.high)
            deviation[plan].append(teacher_stddev(teacher, data, source, part=3, epochs=10, seed=seed))
            loss[plan].append(apart(teacher, student, test))
            right[plan].append(accuracy(student, test, labels))
            row = f"{deviation[plan][-1]:10.5f}{loss[plan][-1]:11.4f}{right[plan][-1]:10.3f}"
            print(f"{plan:10}{row}", flush=True)
    print(f"{'means':10}{'T.stddev':>10}{'test loss':>11}{'accuracy':>10}")
    means = {plan: [statistics.mean(row[plan]) for row in (deviation, loss, right)] for plan in args.plans}
    for plan, (deviates, lost, found) in means.items():
        print(f"{plan:10}{deviates:10.5f}{lost:11.4f}{found:10.3f}")
    counted = [means[plan] for plan in args.plans if plan != "least"]
    if len(counted) > 2:
        rank = spearmanr([row[0] for row in counted], [row[1] for row in counted]).statistic
        print(f"rank correlation of T.stddev and test loss over {len(counted)} augmentations: {rank:.2f}")


if __name__ == "__main__":
    main()
