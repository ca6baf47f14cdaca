"""A method of your own: match how the examples of a batch resemble each other, beside the soft targets.

Takes seconds and writes nothing:

    python examples/own_method.py
"""

import argparse
from dataclasses import dataclass

import torch.nn.functional as F

import understudy as us


@dataclass(frozen=True)
class GramMatch(us.Method):
    """Match the batch's similarity matrix. Features: (B, ...) -> (B, D); the widths may differ."""

    needs = us.Needs(features=("mid",), whole_batch=True)

    def terms(self, student, teacher, batch):
        """{"gram": (B,)}."""
        s = F.normalize(student.features["mid"].flatten(1), dim=1)
        t = F.normalize(teacher.features["mid"].flatten(1), dim=1)
        return {"gram": (s @ s.T - t @ t.T).square().mean(1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each training")
    epochs = parser.parse_args().epochs

    for check, held in us.testing.check_method(GramMatch()).items():
        print(f"{check:<18} {held}")

    teacher = us.train("digits", "mlp[64,64,64]", epochs=epochs, lr=5e-3).student
    taps = {"mid": ("6", "2")}  # the teacher's layer, the student's layer: their last ReLU
    method = us.SoftTargets(temperature=4.0) + 0.5 * GramMatch()
    run = us.distill(teacher, "mlp[20]", "digits", method=method, taps=taps, epochs=epochs, lr=5e-3)
    last = run.curves[-1]
    print(f"losses {last['loss_soft']:.4f} (soft) and {last['loss_gram']:.4f} (gram)")
    print(f"agreement with the teacher on the training data: {last['agreement']:.3f}")


if __name__ == "__main__":
    main()
