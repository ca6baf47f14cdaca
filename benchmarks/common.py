"""How the benchmarks measure: both arms in one process, rounds A B A B, the first dropped, the ratio a round.

Timings on a shared machine are noisy, so nothing here is a test; what counts is the median ratio and its spread.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 7,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Seconds of both arms and the ratio ours / theirs, round by round; medians and the ratio's range.

    The clock counts this process's own work by default; work in other processes needs `time.perf_counter`.
    """
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        for name, arm in (("ours", ours), ("theirs", theirs)):
            began = clock()
            arm()
            if number:
                seconds[name].append(clock() - began)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {
        "ours_seconds": round(statistics.median(seconds["ours"]), 4),
        "theirs_seconds": round(statistics.median(seconds["theirs"]), 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_range": [round(min(ratios), 4), round(max(ratios), 4)],
        "rounds": rounds,
    }


def save(claim: str, content: dict[str, Any]) -> None:
    """Write results/CLAIM.json with versions and the load of the machine, and print it."""
    content = {
        **content,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "machine": {"cores": os.cpu_count(), "load": [round(x, 2) for x in os.getloadavg()]},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{claim}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))
