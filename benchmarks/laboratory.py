"""The experiments' quick runs, kept as claims, and the tables of docs/when-fidelity-helps.md that are made of them.

    python benchmarks/laboratory.py --run teacher_hacking,faithful_kd    run these, keep, fill in the page
    python benchmarks/laboratory.py --keep FOLDER FOLDER                 keep runs that are done, fill in the page
    python benchmarks/laboratory.py                                      fill in the page from what is kept

The page says where a table goes with `<!-- experiment NAME -->` ... `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import RESULTS, ROOT

from understudy.experiments import EXPERIMENTS, experiment_of
from understudy.report.words import number, sentence

PAGE = ROOT / "docs" / "when-fidelity-helps.md"
SEEDS = {  # where three had decided little, and three more were run
    "attention_and_fidelity": range(6),
    "teacher_hacking": range(6),
}
PLACE = re.compile(r"(?P<open><!-- experiment (?P<name>\w+) -->\n).*?(?P<close><!-- end -->)", re.DOTALL)


def claim(folder: Path) -> dict[str, Any]:
    """What the result.json of a finished experiment says, without its rows."""
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    seconds = round(sum(row["seconds"] for row in content.pop("rows")))
    for one in content["summary"]:
        one["seeds"] = [value for _, value in one["seeds"]]
    return {**_short(content), "seconds": seconds}


def _short(value: Any) -> Any:
    """Numbers with six digits: a claim is read by people, and kept in the repository."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value


def load(name: str) -> dict[str, Any]:
    """The kept claim of an experiment."""
    found: dict[str, Any] = json.loads((RESULTS / f"experiment-{name}.json").read_text(encoding="utf-8"))
    return found


def table(kept: Mapping[str, Any]) -> str:
    """The sentence, and a row a part of the claim: what it says, what was found, the verdict."""
    rows = [f"> {kept['sentence']}", "", "| part of the claim | above 0 if it holds | found | verdict |"]
    rows.append("|---|---|---:|---|")
    for one in kept["findings"]:
        scale, unit = (100, " points") if one["share"] else (1, "")
        found = f"{scale * one['mean']:+.1f}{unit}" if one["share"] else f"{one['mean']:+.3f}"
        if one["low"] is not None:
            low, high = (number(scale * one[end], 1 if one["share"] else 3) for end in ("low", "high"))
            found += f" ({low} to {high})"
        rows.append(
            f"| {sentence(one['name'])} | {one['said']} | {found.replace('-', '−')} | {one['verdict']} |"
        )
    return "\n".join(rows)


def filled(text: str) -> str:
    """The page with every table as the kept claims give it."""
    return PLACE.sub(lambda at: f"{at['open']}{table(load(at['name']))}\n{at['close']}", text)


def main() -> None:
    """Run or keep what is asked for, then fill in the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", default="", help="experiments to run with --quick, separated by commas, or all"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/laboratory"), help="folder of the runs")
    parser.add_argument("--keep", type=Path, nargs="*", default=[], help="folders of finished experiments")
    given = parser.parse_args()
    names = list(EXPERIMENTS) if given.run == "all" else [name for name in given.run.split(",") if name]
    folders = list(given.keep)
    for name in names:
        experiment_of(name)().run(given.runs / name, SEEDS.get(name), quick=True, quiet=False)
        folders.append(given.runs / name)
    for folder in folders:
        kept = claim(folder)
        target = RESULTS / f"experiment-{kept['name']}.json"
        target.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
