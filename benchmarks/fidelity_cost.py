"""Claim: the core statistics of fidelity add at most 1 % to an evaluation pass of a ResNet-20 at 32x32.

python benchmarks/fidelity_cost.py

One evaluation pass is the forward pass of the student alone, 8 batches of 64 images, one thread; the teacher's answers
are there. The statistics are `understudy.fidelity.streaming.Fidelity`'s, labels included. They are timed by themselves,
many times over, in rounds that alternate with the pass: a difference of two passes would drown in their noise.
"""

from __future__ import annotations

import torch
from common import ratio, save

from understudy.fidelity.streaming import Fidelity
from understudy.models import zoo
from understudy.models.config import ModelConfig

BATCHES, BATCH, REPEAT = 8, 64, 20


def measure(classes: int) -> dict[str, object]:
    """Statistics of a pass over the pass, both in CPU seconds."""
    torch.manual_seed(0)
    student = zoo.build(ModelConfig("resnet20", (3, 32, 32), classes)).eval()
    images = [torch.rand(BATCH, 3, 32, 32) for _ in range(BATCHES)]
    labels = [torch.randint(classes, (BATCH,)) for _ in range(BATCHES)]
    with torch.inference_mode():
        said = [student(x) for x in images]
    taught = [3 * torch.randn(BATCH, classes) for _ in range(BATCHES)]

    def statistics() -> None:
        for _ in range(REPEAT):
            found = Fidelity()
            for t, s, y in zip(taught, said, labels, strict=True):
                found.update(t, s, y)
            found.result()

    def forward() -> None:
        with torch.inference_mode():
            for x in images:
                student(x)

    found = ratio(statistics, forward)
    share = found["ratio"] / REPEAT
    return {**found, "repeated": REPEAT, "share_of_a_pass": round(share, 5)}


def main() -> None:
    torch.set_num_threads(1)
    found = {f"{classes} classes": measure(classes) for classes in (10, 100)}
    save("fidelity_cost", {"claim": "at most .01 of an evaluation pass", "batch": BATCH, **found})


if __name__ == "__main__":
    main()
