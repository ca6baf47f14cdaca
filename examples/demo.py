"""The main job, whole: a robust teacher on UCI digits, students by SD, ARD, RSLAD and FD, each audited.

Takes about a minute on two cores, and downloads nothing:

    python examples/demo.py --out demo
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

import understudy as us
from understudy.report.table import compare_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write, or to continue")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of each training")
    parser.add_argument("--points", type=int, default=100, help="test images that are audited")
    parser.add_argument("--methods", default="sd,ard,rslad,fd", help="separated by commas")
    args = parser.parse_args()
    console = Console()

    began = time.perf_counter()
    teacher = args.out / "teacher"
    if not (teacher / "model.safetensors").exists():
        resume = (teacher / "config.json").exists()
        place = {"resume": teacher} if resume else {"out": teacher}
        us.train("digits", "mlp[64,64,64]", robust="pgd", epochs=args.epochs, quiet=False, **place)
    trained = time.perf_counter()
    console.print(f"teacher trained in {trained - began:.0f} s: {teacher}")

    done = us.compare(
        teacher,
        "mlp[20]",
        "digits",
        methods=args.methods.split(","),
        seeds=[0],
        epochs=args.epochs,
        points=args.points,
        out=args.out / "comparison",
        quiet=False,
    )
    console.print(f"{len(done.audits)} students trained and audited in {time.perf_counter() - trained:.0f} s")
    console.print(compare_table(done.content))
    console.print(f"page: {args.out / 'comparison' / 'report.html'}", soft_wrap=True)
    last = args.methods.split(",")[-1]
    audit = (
        f"understudy audit --teacher {teacher} --student {args.out / 'comparison' / last / '0'} --data digits"
    )
    console.print(f"next: {audit} --eps 0.05,0.1 --out {args.out / 'audit'}", soft_wrap=True)


if __name__ == "__main__":
    main()
