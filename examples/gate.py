"""A gate for your own tests: no point of the sample may be left with a proved bound above the limit.

Takes seconds, and ends with 0 if the gate holds and with 1 if it does not:

    python examples/gate.py

The same on the command line: `understudy audit ... --fail-above 0.5`.
"""

import argparse
import sys

import understudy as us


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=0.5, help="largest difference in confidence allowed")
    parser.add_argument("--eps", type=float, default=0.01, help="radius, in the data's units")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each training")
    args = parser.parse_args()

    # In your own tests these two are files: us.audit("teacher.onnx", "student.safetensors", ...)
    teacher = us.train("digits", "mlp[64,64,64]", robust="pgd", epochs=args.epochs, lr=5e-3).student
    student = us.distill(teacher, "mlp[20]", "digits", method="fd", epochs=args.epochs, lr=5e-3).student
    try:
        done = us.audit(teacher, student, "digits", eps=args.eps, points=50, fail_above=args.limit)
    except us.GateFailed as failure:
        print(f"gate failed: {failure}", file=sys.stderr)
        return failure.exit_code
    print(f"gate passed: at most {done.summary[-1].upper_max:.3f} within {args.eps:g}, limit {args.limit:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
