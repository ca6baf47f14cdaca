"""Claims: `import understudy` costs at most 0.2 s over `import torch`; `understudy --help` at most 0.3 s in all.

python benchmarks/start_up.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from common import save


def seconds(code: list[str]) -> float:
    """Processor seconds of a fresh process: on a busy machine wall time says more about the others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(code, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    python = sys.executable
    arms = {
        "torch": [python, "-c", "import torch"],
        "torch + understudy": [python, "-c", "import torch, understudy"],
        "torch + understudy.api": [python, "-c", "import torch, understudy; understudy.audit"],
        "understudy --help": [python, "-m", "understudy", "--help"],
    }
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(8):
        for name, code in arms.items():
            taken = seconds(code)
            if number:
                found[name].append(taken)
    over = [a - b for a, b in zip(found["torch + understudy"], found["torch"], strict=True)]
    save(
        "start_up",
        {
            "claim": "processor seconds of a fresh process, medians; import_over_torch is the median paired difference",
            "targets": {"import_over_torch": 0.2, "understudy --help": 0.3},
            "import_over_torch": round(statistics.median(over), 4),
            "seconds": {name: round(statistics.median(values), 4) for name, values in found.items()},
        },
    )


if __name__ == "__main__":
    main()
