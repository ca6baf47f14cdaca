"""Claims: the demo's wall time, phase by phase; peak memory of the MNIST job.

python benchmarks/whole_jobs.py [--data-root FOLDER]     (about ten minutes on two cores)
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import save


def demo(folder: Path) -> dict[str, object]:
    """Run the demo; its own phases, and the seconds of every run as it recorded them."""
    script = Path(__file__).parent.parent / "examples" / "demo.py"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(folder)], check=True, capture_output=True, text=True
    )
    total = time.perf_counter() - began
    phases = dict(
        re.findall(r"^(teacher trained|six students trained and audited) in (\d+) s", done.stdout, re.M)
    )
    runs = {}
    for path in sorted(folder.glob("comparison/*/0")):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        record = json.loads((path / "audit" / "audit.json").read_text())
        runs[path.parent.name] = {
            "train_seconds": round(sum(row["seconds"] for row in rows), 2),
            "audit_seconds": record["environment"]["seconds"],
        }
    return {"seconds": round(total, 1), "phases": phases, "runs": runs}


def mnist(folder: Path, data_root: str | None) -> dict[str, object]:
    """A PGD teacher on all of MNIST for one epoch, then its audit: wall time and the process's peak memory."""
    root = ["--data-root", data_root] if data_root else []
    common = ["--data", "mnist", *root, "--quiet"]
    commands = {
        "train": ["train", "--model", "cnn", "--robust", "pgd", "--epochs", "1", "--out", str(folder / "T")],
        "distill": ["distill", "--teacher", str(folder / "T"), "--model", "cnn[8,16,50]", "--method", "fd",
                    "--epochs", "1", "--out", str(folder / "S")],
        "audit": ["audit", "--teacher", str(folder / "T"), "--student", str(folder / "S"), "--out", str(folder / "A")],
    }  # fmt: skip
    found: dict[str, object] = {}
    for name, arguments in commands.items():
        code = (
            "import resource, sys; from understudy.cli.main import run; status = run(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
        )
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, *common], check=True, capture_output=True, text=True
        )
        found[name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "peak_mib": round(int(done.stdout.split()[-1]) / 1024),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="folder of data sets as parquet; else UNDERSTUDY_DATA")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content: dict[str, object] = {"demo": demo(Path(folder) / "demo")}
        content["mnist, 60,000 images, one epoch"] = mnist(Path(folder), args.data_root)
    save("whole_jobs", {"claim": "wall seconds and peak memory", "target_demo_seconds": 180, **content})


if __name__ == "__main__":
    main()
