"""Every method of the catalogue on one pair, judged by `understudy compare`; kept as a claim, and as the docs' table.

    python benchmarks/catalogue.py --data digits                       train a teacher, compare, keep, fill docs
    python benchmarks/catalogue.py --data fashion_mnist --methods logits,relations
    python benchmarks/catalogue.py                                     fill docs/catalogue.md from what is kept

Runs lie in --runs (default runs/catalogue); what is done there is read, so that after new methods have come only they
are trained. The page says where a table goes with `<!-- catalogue NAME -->` ... `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tables import RESULTS, ROOT, markdown, short

from understudy.jobs.comparison_workers import cores
from understudy.report.judgement import AT_FOCUS, Judgement, judgement
from understudy.report.words import (
    SHARES,
    interval,
    metric_label,
    metric_parts,
    metric_value,
    radius,
    sentence,
)

PAGE = ROOT / "docs" / "catalogue.md"
PLACE = re.compile(r"(?P<open><!-- catalogue (?P<name>[\w-]+) -->\n).*?(?P<close><!-- end -->)", re.DOTALL)
SIGNS = {"better": " +", "not better": " –", "inconclusive": " ?"}
COSTS = ("train_seconds", "peak_megabytes")


class Size(NamedTuple):
    """How large a comparison is: the options of the two commands that make it."""

    train: dict[str, str]
    compare: dict[str, str]


SIZES = {
    "digits": Size(
        {"model": "mlp[64,64,64]", "robust": "pgd", "epochs": "60", "lr": "0.004"},
        {"model": "mlp[20]", "epochs": "30", "lr": "0.004", "points": "50", "eps": "0.1"},
    ),
    "fashion_mnist": Size(
        {"model": "mlp[200,200]", "robust": "pgd", "examples": "6000", "epochs": "8", "lr": "0.004"},
        {
            "model": "mlp[50,50]", "examples": "3000", "epochs": "8", "lr": "0.004", "points": "50",
            "train-eps": "0.1", "eps": "0.1",
        },
    ),
}  # fmt: skip


def commands(data: str, methods: str, seeds: str) -> list[list[str]]:
    """The two commands, as a user would give them in the folder of the runs."""
    size, teacher = SIZES[data], f"{data}-teacher"
    train = {"data": data, **size.train, "out": teacher}
    compare = {
        "teacher": teacher,
        "data": data,
        "methods": methods,
        "seeds": seeds,
        **size.compare,
        "out": data,
    }
    return [
        ["understudy", name, *(part for key, value in given.items() for part in (f"--{key}", value))]
        for name, given in (("train", train), ("compare", compare))
    ]


def run(data: str, methods: str, seeds: str, runs: Path, workers: str) -> dict[str, Any]:
    """The claim: what compare.json says in short, with the commands that made it."""
    from understudy.cli.main import run as understudy

    train, compare = commands(data, methods, seeds)
    teacher, folder = (Path(words[-1]) for words in (train, compare))
    began = time.monotonic()
    with contextlib.chdir(runs):
        if not (teacher / "model.safetensors").exists():
            begun = (teacher / "config.json").exists()
            _must(understudy(["train", "--resume", str(teacher)] if begun else train[1:]))
        _must(understudy([*compare[1:], "--workers", workers]))
    content = json.loads((runs / folder / "compare.json").read_text(encoding="utf-8"))
    found = judgement(content)
    return {
        "commands": [shlex.join(train), shlex.join(compare)],
        "settings": {
            key: content["settings"][key] for key in ("data", "model", "seeds", "train_eps", "points")
        },
        "seconds": round(time.monotonic() - began),
        "environment": content["environment"],
        "teacher": {"measured": content["teacher"]["measured"]},
        "summary": [short(row) for row in content["summary"] if row["metric"] in found.columns],
        "verdicts": [short(row) for row in content["verdicts"]],
        "failed": content["failed"],
        "left_out": content["left_out"],
    }


def _must(code: int) -> None:
    if code:
        raise SystemExit(code)


def table(kept: Mapping[str, Any]) -> str:
    """The commands, a row a method by rising KL, the verdicts, and what is not in the table."""
    found = judgement(kept)
    kl = {m: found.cells[m, "kl"]["mean"] for m in found.methods if (m, "kl") in found.cells}
    rows = [["*teacher*", *(_value(m, found.teacher.get(m)) for m in found.columns)]]
    for method in sorted(kl, key=lambda m: kl[m]):
        rows.append([f"`{method}`", *(_cell(m, found.cells.get((method, m))) for m in found.columns)])
    lines = [
        "```text",
        *kept["commands"],
        "```",
        "",
        markdown(["by rising KL", *map(_head(found), found.columns)], rows),
    ]
    lines += [f"- {line}" for line in (*found.sentences(), *found.absences())]
    return "\n".join([*lines, ""])


def _head(found: Judgement) -> Any:
    def head(metric: str) -> str:
        name = metric_parts(metric)[0]
        at = f", ε = {radius(found.focus)}" if name in AT_FOCUS and found.focus is not None else ""
        return sentence(metric_label(name)) + at

    return head


def _value(metric: str, value: float | None) -> str:
    return "–" if value is None else metric_value(metric_parts(metric)[0], value)


def _cell(metric: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    name = metric_parts(metric)[0]
    if name in COSTS:
        return f"{row['mean']:.1f}"
    ends = interval((row["low"], row["high"]), name in SHARES)
    return (
        metric_value(name, row["mean"]) + (f" ({ends})" if ends else "") + SIGNS.get(row["verdict"] or "", "")
    )


def filled(text: str) -> str:
    """The page with every table whose claim is kept; a place without a claim stays as it is."""

    def fill(place: re.Match[str]) -> str:
        path = RESULTS / f"catalogue-{place['name']}.json"
        if not path.exists():
            return place[0]
        return place["open"] + table(json.loads(path.read_text(encoding="utf-8"))) + place["close"]

    return PLACE.sub(fill, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=sorted(SIZES))
    parser.add_argument("--methods", default="all")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workers", default=str(cores()), help="runs at once")
    parser.add_argument("--runs", type=Path, default=Path("runs/catalogue"))
    args = parser.parse_args()
    if args.data:
        args.runs.mkdir(parents=True, exist_ok=True)
        kept = run(args.data, args.methods, args.seeds, args.runs, args.workers)
        text = json.dumps(kept, ensure_ascii=False).replace("}, {", "},\n{")
        (RESULTS / f"catalogue-{args.data}.json").write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
