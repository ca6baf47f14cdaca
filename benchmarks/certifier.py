"""Claim: how close upper and lower bounds come on eleven pairs, next to what others were measured to reach.

python benchmarks/certifier.py                                  (half an hour on one core)
python benchmarks/certifier.py --rows mlp/adv@.03 --merge       measure one row again, keep the others
python benchmarks/certifier.py --rows tiny/kd --threads 1 2     nodes a second on two threads, too

Writes results/certifier.json and results/certifier.md. The pairs are small MNIST networks; a row is one pair at one
radius on the first MNIST test images, so many seconds a point, all classes and signs together. Processor seconds on
one thread; wall seconds on more than one, or on a GPU, where all points are one batch. The attack that gives a first
lower bound is not in them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from certifier_peer import peer
from certifier_rows import EARLY, QUOTED, ROWS, Row, Setting, attacked, environment, rounded
from certifier_table import table
from common import RESULTS

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds
from understudy.bounds.engine import PairBound

SHARED = Path(__file__).resolve().parents[2] / "shared"
ROUNDS = 3


def measure(row: Row, setting: Setting) -> dict[str, Any]:
    """One row, in a process of its own."""
    torch.set_num_threads(setting.threads)
    teacher, student, inputs, lower, witness = attacked(row, setting)
    clock = time.process_time if setting.threads == 1 and not setting.at_once else time.perf_counter
    engine = PairBounds(teacher, student, (1, 28, 28), mode=setting.mode, clock=clock)  # type: ignore[arg-type]
    ball = Ball(row.eps, "linf", 0.0, 1.0)
    before = resident("VmRSS")
    bounds: list[PairBound] = []
    began = clock()
    for part in torch.arange(len(inputs)).split(len(inputs) if setting.at_once else 1):
        bounds += engine.bound(
            inputs[part], ball, lower=lower[part], witness=witness[part], time_limit=row.seconds
        )
    taken = clock() - began
    points = [point_of(bound, float(floor)) for bound, floor in zip(bounds, lower, strict=True)]
    mean = {
        key: statistics.fmean(p[key] for p in points) for key in ("attack", "lower", "upper", "early_upper")
    }
    content = {
        **mean,
        "gap": mean["upper"] - mean["lower"],
        "early_gap": mean["early_upper"] - statistics.fmean(p["early_lower"] for p in points),
        "closed": sum(p["status"] == "exact" for p in points),
        "nodes": sum(p["nodes"] for p in points),
        "nodes_a_second": sum(p["nodes"] for p in points) / taken,
        "seconds_a_point": taken / len(points),
        "memory_mib": {"peak": resident("VmHWM"), "before": before},
    }
    if setting.device == "cuda":
        content["memory_mib"]["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return {**rounded(content), "clock": clock.__name__, "points": points, **environment()}


def point_of(bound: PairBound, attack: float) -> dict[str, Any]:
    """What is kept of one point. Before its first bound a search knows that D is at most 1."""
    lower = attack if bound.lower is None else bound.lower
    early = [r for r in bound.history if r[0] <= EARLY]
    early_lower, early_upper = early[-1][1:3] if early else (attack, 1.0)
    if not bound.history and bound.seconds <= EARLY:
        early_lower, early_upper = lower, bound.upper
    return rounded(
        {
            "attack": attack,
            "lower": lower,
            "upper": bound.upper,
            "status": bound.status,
            "nodes": bound.nodes,
            "seconds": bound.seconds,
            "early_lower": early_lower,
            "early_upper": early_upper,
        }
    )


def scaling(row: Row, setting: Setting, counts: list[int]) -> dict[str, Any]:
    """Nodes per wall second of each number of threads over the first one's, rounds A B A B, the first dropped.

    On the point that a short search leaves widest open.
    """
    teacher, student, inputs, lower, witness = attacked(row, setting)
    clock = time.perf_counter
    engine = PairBounds(teacher, student, (1, 28, 28), mode=setting.mode, clock=clock)  # type: ignore[arg-type]
    ball = Ball(row.eps, "linf", 0.0, 1.0)

    def search(at: int, seconds: float) -> tuple[PairBound, float]:
        here, began = slice(at, at + 1), clock()
        (bound,) = engine.bound(
            inputs[here], ball, lower=lower[here], witness=witness[here], time_limit=seconds
        )
        return bound, bound.nodes / (clock() - began)

    torch.set_num_threads(counts[0])
    left = [bound.upper - (bound.lower or 0) for bound, _ in (search(i, 0.5) for i in range(len(inputs)))]
    hardest, seconds = left.index(max(left)), min(row.seconds, 5.0)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(ROUNDS + 1):
        for count in counts:
            torch.set_num_threads(count)
            rate = search(hardest, seconds)[1]
            if number:
                rates[count].append(rate)
    first, found = rates[counts[0]], {}
    for count, values in rates.items():
        ratios = [a / b for a, b in zip(values, first, strict=True)]
        found[str(count)] = rounded(
            {"nodes_a_second": statistics.median(values), "ratio": statistics.median(ratios)}
            | {"least": min(ratios), "most": max(ratios)}
        )
    return {"threads": found, "point": hardest, "seconds": seconds, "rounds": ROUNDS, **environment()}


def resident(which: str) -> int | None:
    """MiB of this process that are (VmRSS), or at most ever were (VmHWM), in memory; None where no one says."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(which + ":")), None)


def head(row: Row, setting: Setting) -> dict[str, Any]:
    """What a kept row is told apart by, and what is quoted beside it."""
    asked = next(r for r in ROWS if r.name == row.name)
    comparable = setting.mode == "exact" and row.seconds == asked.seconds and row.points == asked.points
    return {
        "pair": row.pair, "eps": row.eps, "seconds": row.seconds, "count": row.points, "mode": setting.mode,
        "threads": setting.threads, "device": setting.device,
        "target": asked.target if comparable else None,
        "early_target": asked.early if comparable else None,
        "quoted": {"seconds": asked.seconds, "peers_gap": asked.peers, "prototype_gap": asked.prototype},
    }  # fmt: skip


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a[k] == b[k] for k in ("pair", "eps", "seconds", "count", "mode", "threads", "device"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pairs = os.environ.get("UNDERSTUDY_PAIRS", SHARED / "pairs")
    data = os.environ.get("UNDERSTUDY_DATA", SHARED / "data")
    parser.add_argument(
        "--pairs", type=Path, default=pairs, help="folder of the networks; else UNDERSTUDY_PAIRS"
    )
    parser.add_argument("--data-root", type=Path, default=data, help="folder of data; else UNDERSTUDY_DATA")
    parser.add_argument("--rows", nargs="+", metavar="PAIR[@EPS]", help="only these; all radii without one")
    parser.add_argument("--seconds", type=float, help="a point, instead of each row's own")
    parser.add_argument("--points", type=int, help="instead of each row's own")
    parser.add_argument("--mode", default="exact", choices=("crown", "alpha", "exact"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="the first for the table")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--merge", action="store_true", help="keep the rows measured before")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where certifier.json and .md go")
    args = parser.parse_args()
    chosen = []
    for name in args.rows or [row.pair for row in ROWS]:
        pair, _, eps = name.partition("@")
        found = [row for row in ROWS if row.pair == pair and (not eps or row.eps == float(eps))]
        if not found:
            parser.error(f"no row {name}; there are {', '.join(row.name for row in ROWS)}")
        chosen += found
    args.rows = [row for row in ROWS if row in chosen]
    if not args.pairs.is_dir():
        parser.error(f"no networks in {args.pairs}: --pairs or UNDERSTUDY_PAIRS names their folder")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no GPU here")
    return args


def main() -> None:
    args = arguments()
    kept_at = args.out / "certifier.json"
    kept: list[dict[str, Any]] = []
    if args.merge and kept_at.exists():
        kept = json.loads(kept_at.read_text(encoding="utf-8"))["rows"]
    has_peer = importlib.util.find_spec("auto_LiRPA") is not None
    if not has_peer:
        print("auto_LiRPA is not installed: not measured side by side")
    setting = Setting(args.pairs, args.data_root, args.mode, args.threads[0], args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    for row in args.rows:
        row = replace(row, seconds=args.seconds or row.seconds, points=args.points or row.points)
        new = head(row, setting)
        # a process each, so that one row's memory and warm caches are not another's
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as process:
            new |= process.submit(measure, row, setting).result()
            if len(args.threads) > 1:
                new["scaling"] = process.submit(scaling, row, setting, args.threads).result()
            if has_peer:
                new["auto_LiRPA"] = process.submit(peer, row, setting).result()
        before = next((r for r in kept if same(r, new)), {})
        kept = [r for r in kept if not same(r, new)] + [{**before, **new}]
        order = [r.name for r in ROWS]
        kept.sort(
            key=lambda r: (order.index(f"{r['pair']}@{r['eps']:g}"), r["device"], r["mode"], r["seconds"])
        )
        rows = ",\n".join(
            json.dumps(r, ensure_ascii=False).replace('"points": [', '"points": [\n') for r in kept
        )
        claim = json.dumps("mean gaps of upper and lower bounds; " + QUOTED.replace("*", ""))
        kept_at.write_text(f'{{"claim": {claim},\n"rows": [\n{rows}\n]}}\n', encoding="utf-8")
        (args.out / "certifier.md").write_text(table(kept), encoding="utf-8")
        print(
            f"{row.name}, {row.seconds:g} s: lower {new['lower']:.4f} upper {new['upper']:.4f} gap {new['gap']:.5f}"
        )
    print(table(kept))


if __name__ == "__main__":
    main()
