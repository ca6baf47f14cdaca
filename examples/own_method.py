r"""A method of your own: match how the examples of a batch resemble each other, beside the soft targets.

Takes seconds and writes nothing:

    python examples/own_method.py

From the folder of this file it runs on the command line as well, like any method of the catalogue:

    understudy distill --teacher runs/teacher --model 'mlp[20]' --data digits --method own_method:GramMatch \
        --set weight=2 --out runs/gram
"""

import argparse
from dataclasses import dataclass

import torch.nn.functional as F

import understudy as us
from understudy.objectives.divergences import kl


@dataclass(frozen=True, kw_only=True)
class GramMatch(us.Method):
    """Match the teacher's confidences, and the batch's similarity matrix in the layer before the logits."""

    temperature: float = 4.0
    weight: float = 0.5

    needs = us.Needs(features=("embedding",), whole_batch=True)

    def terms(self, student, teacher, batch):
        """{"soft", "gram"}: one value an example (B,) each, weights included."""
        s = F.normalize(student.features["embedding"].flatten(1), dim=1)  # (B, Ds)
        t = F.normalize(teacher.features["embedding"].flatten(1), dim=1)  # (B, Dt)
        return {
            "soft": self.temperature**2 * kl(teacher.logits, student.logits, self.temperature),
            "gram": self.weight * (s @ s.T - t @ t.T).square().mean(1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each training")
    epochs = parser.parse_args().epochs

    for check, held in us.testing.check_method(GramMatch()).items():
        print(f"{check:<18} {held}")

    teacher = us.train("digits", "mlp[64,64,64]", epochs=epochs, lr=5e-3).student
    run = us.distill(teacher, "mlp[20]", "digits", method=GramMatch(), epochs=epochs, lr=5e-3)
    last = run.curves[-1]
    print(f"losses {last['loss_soft']:.4f} (soft) and {last['loss_gram']:.4f} (gram)")
    print(f"agreement with the teacher on the training data: {last['agreement']:.3f}")


if __name__ == "__main__":
    main()
