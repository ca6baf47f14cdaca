"""Does an assistant of a size in between bring the student nearer to its teacher?

TAKD (arXiv 1902.03393) on digits: a teacher of 256 hidden units, a student of 4, an assistant of 16 between them,
against plain distillation in one stage. Prints, for every seed, how far the student is from the model that taught it
(KL on the training data, nats) and how often it is right on the test data.

    python examples/teacher_assistant.py
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from torch import nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.objectives.divergences import kl


@torch.no_grad()
def apart(teacher: nn.Module, student: nn.Module, inputs: torch.Tensor) -> float:
    """Mean KL(teacher || student) in nats."""
    return kl(teacher(inputs), student(inputs)).mean().item()


@torch.no_grad()
def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return (model(inputs).argmax(1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    x = load_data("digits", "train").inputs(slice(None))
    held_out = load_data("digits", "test")
    assert held_out.labels is not None
    test, labels = held_out.inputs(slice(None)), held_out.labels
    for seed in range(args.seeds):
        settings = {"seed": seed, "epochs": args.epochs, "lr": 5e-3}
        teacher = us.train("digits", "mlp[256]", **settings).student
        options = {"temperature": "5", "alpha": ".9"}
        plain = us.distill(teacher, "mlp[4]", "digits", method="kd", options=options, **settings).student
        with tempfile.TemporaryDirectory() as folder:
            assisted = us.distill(
                teacher, "mlp[4]", "digits", method="teacher_assistant",
                options={**options, "assistants": "mlp[16]"}, out=folder + "/run", **settings,
            ).student  # fmt: skip
            assistant = us.load(folder + "/run/stages/assistant-1").module
        near, far = apart(assistant, assisted, x), apart(teacher, plain, x)
        models = (teacher, assistant, assisted, plain)
        right = [f"{accuracy(model, test, labels):.3f}" for model in models]
        print(
            f"seed {seed}: KL from the model that taught it: with the assistant {near:.3f}, without {far:.3f}; "
            f"accuracy: teacher {right[0]}, assistant {right[1]}, student with it {right[2]}, without {right[3]}"
        )


if __name__ == "__main__":
    main()
