"""Several methods, several seeds, one table: which student stays closest to its teacher, and how sure is that?

Takes about a minute on one core:

    python examples/compare_methods.py --out runs/comparison

A comparison that was interrupted is continued when the same command is given again.
"""

import argparse
from pathlib import Path

from rich.console import Console

import understudy as us
from understudy.report.table import compare_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/comparison"), help="folder to write or continue"
    )
    parser.add_argument("--methods", default="sd,fd", help="separated by commas")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each training")
    parser.add_argument("--points", type=int, default=50, help="test images that are audited")
    args = parser.parse_args()

    teacher = args.out / "teacher"
    if not (teacher / "model.safetensors").exists():
        place = {"resume": teacher} if (teacher / "config.json").exists() else {"out": teacher}
        us.train("digits", "mlp[64,64,64]", robust="pgd", epochs=args.epochs, lr=5e-3, **place)
    done = us.compare(
        teacher,
        "mlp[20]",
        "digits",
        methods=args.methods.split(","),
        seeds=range(args.seeds),
        epochs=args.epochs,
        lr=5e-3,
        points=args.points,
        out=args.out / "students",
    )
    Console().print(compare_table(done.content))
    for row in done.content["contrasts"]:
        if row["metric"] == "lower_mean@0.1" and row["low"] is not None:
            print(f"EmpLB at 0.1, {row['a']} - {row['b']}: {row['difference']:+.3f}", end=" ")
            print(f"({row['low']:+.3f} to {row['high']:+.3f}), {row['verdict']}")
    print(f"page: {args.out / 'students' / 'report.html'}")


if __name__ == "__main__":
    main()
