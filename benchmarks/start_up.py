"""Claims: `import understudy` costs at most 0.2 s over `import torch`; `understudy --help` at most 0.3 s in all.

python benchmarks/start_up.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from common import save


def seconds(code: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(code, check=True, capture_output=True)
    return time.perf_counter() - began


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
            "claim": "seconds of a fresh process, medians; import_over_torch is the median paired difference",
            "targets": {"import_over_torch": 0.2, "understudy --help": 0.3},
            "import_over_torch": round(statistics.median(over), 4),
            "seconds": {name: round(statistics.median(values), 4) for name, values in found.items()},
        },
    )


if __name__ == "__main__":
    main()
