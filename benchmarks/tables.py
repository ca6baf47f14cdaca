"""Tables of a comparison in Markdown, with intervals; kept as a claim in results/, filled into README.md and docs/.

    print the tables of a comparison    python benchmarks/tables.py FOLDER
    keep them and fill in the pages     python benchmarks/tables.py FOLDER --keep digits
    fill in the pages again             python benchmarks/tables.py

A page says where a table goes with `<!-- KIND NAME -->` ... `<!-- end -->`: KIND is one of methods, radii,
differences and made; NAME is what `--keep` called it.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from understudy.jobs.comparison_methods import undistilled_of
from understudy.report.words import interval, metric_parts, number, percent, radius

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
PLACE = re.compile(
    r"(?P<open><!-- (?P<kind>\w+) (?P<name>[\w-]+) -->\n).*?(?P<close><!-- end -->)", re.DOTALL
)
SETTINGS = (
    "data",
    "model",
    "methods",
    "seeds",
    "train_eps",
    "epochs",
    "lr",
    "examples",
    "points",
    "certify",
    "norm",
)
COLUMNS = {
    "lower_mean": "EmpLB, mean",
    "upper_mean": "FaithUB, mean",
    "certified_agreement": "proved same class",
    "agreement": "same class found",
    "accuracy_student": "student’s accuracy",
}
BOUNDS = ("lower_mean", "upper_mean")
SIGNS = {"better": " +", "not better": " –", "inconclusive": " ?"}
NAMES = {
    "sd": "SD", "ard": "ARD", "rslad": "RSLAD", "iad": "IAD", "adaad": "AdaAD", "fd": "FD",
    "ce": "undistilled (CE)", "at": "undistilled (AT)",
}  # fmt: skip

Claim = Mapping[str, Any]


def claim(folder: Path) -> dict[str, Any]:
    """What is kept of a comparison: its settings, its summary at every radius, its paired differences."""
    content = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    settings = content["settings"]
    ends = (0.0, settings["train_eps"])

    def wanted(metric: str, radii: tuple[float, ...]) -> bool:
        name, eps = metric_parts(metric)
        return (eps in radii and name in (*COLUMNS, "accuracy_teacher")) or (
            eps is not None and name in BOUNDS
        )

    return {
        "commands": commands(folder, settings),
        "settings": {name: settings[name] for name in SETTINGS},
        "environment": content["environment"],
        "summary": [short(row) for row in against_undistilled(content) if wanted(row["metric"], ends)],
        "contrasts": [
            short(row)
            for row in content["contrasts"]
            if metric_parts(row["metric"])[0] in BOUNDS and metric_parts(row["metric"])[1] in ends
        ],
    }


def against_undistilled(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The summary with each method held against the undistilled student at equal budget, as these tables say."""
    known = {(row["a"], row["b"], row["metric"]): row["verdict"] for row in content["contrasts"]}
    rows = []
    for row in content["summary"]:
        reference = undistilled_of(row["method"])
        verdict = known.get((row["method"], reference, row["metric"]))
        rows.append({**row, "reference": reference, "verdict": verdict})
    return [row for row in rows if row["method"] != "label_smoothing"]


def commands(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """The commands that made a comparison, told from what its folder and its teacher's say."""
    place = next(
        (p for p in folder.resolve().parents if (p / settings["teacher"] / "config.json").exists()), None
    )
    if place is None:
        raise SystemExit(f"the teacher's run folder {settings['teacher']} is not beside {folder} or above it")
    one = folder / settings["methods"][0] / str(settings["seeds"][0])
    above, below = (
        json.loads((run / "config.json").read_text(encoding="utf-8"))
        for run in (place / settings["teacher"], one)
    )
    teacher = above["request"]
    robust = {"ce": "none", "at": "pgd", "trades": "trades"}[teacher["method"]]
    train = {"data": teacher["data"], "model": teacher["model"], "robust": robust}
    compare = {name: settings[name] for name in ("teacher", "model", "data")}
    compare |= {name: ",".join(map(str, settings[name])) for name in ("methods", "seeds")}
    for options, run in ((train, above), (compare, below)):
        if run["request"]["examples"] is not None:
            options["examples"] = run["request"]["examples"]
        options |= {
            name: run["training"][name] for name in ("epochs", "lr")
        }  # stated, whatever the defaults are
    compare |= {"eps": ",".join(f"{eps:g}" for eps in settings["eps"] if eps), "points": settings["points"]}
    train["out"], compare["out"] = settings["teacher"], folder.resolve().relative_to(place)
    return [
        shlex.join(
            [
                "understudy",
                name,
                *(part for key, value in options.items() for part in (f"--{key}", str(value))),
            ]
        )
        for name, options in (("train", train), ("compare", compare))
    ]


def short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its numbers cut to five decimals."""
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}


def found(kept: Claim) -> dict[tuple[str, str, float | None], Mapping[str, Any]]:
    """(method, metric, eps) -> its row of the summary."""
    return {(row["method"], *metric_parts(row["metric"])): row for row in kept["summary"]}


def methods_of(kept: Claim) -> list[str]:
    """The methods in the order of the summary: those asked for, then the baselines."""
    return list(dict.fromkeys(row["method"] for row in kept["summary"]))


def radii_of(kept: Claim) -> list[float]:
    """The audited radii."""
    return sorted({eps for row in kept["summary"] if (eps := metric_parts(row["metric"])[1]) is not None})


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table, the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def methods_table(kept: Claim) -> str:
    """A row a method at the training radius: mean, 95 % interval over seeds, verdict against the undistilled."""
    eps, rows, known = kept["settings"]["train_eps"], [], found(kept)
    for method in methods_of(kept):
        cells = [NAMES.get(method, method)]
        for metric in COLUMNS:
            row = known[method, metric, eps]
            share = metric not in BOUNDS
            value = percent(row["mean"]) if share else number(row["mean"])
            ends = interval((clip(row["low"]), clip(row["high"])), share)
            cells.append(value + (f" ({ends})" if ends else "") + SIGNS.get(row["verdict"] or "", ""))
        rows.append(cells)
    return markdown([f"at ε = {radius(eps)}", *COLUMNS.values()], rows)


def clip(value: float | None) -> float | None:
    """An end of an interval of a quantity that lies in [0, 1]."""
    return None if value is None else min(max(value, 0.0), 1.0)


def radii_table(kept: Claim) -> str:
    """A row a method: EmpLB – FaithUB, means over seeds, at every radius."""
    radii, known = radii_of(kept), found(kept)
    rows = [
        [
            NAMES.get(method, method),
            *(" – ".join(number(known[method, m, eps]["mean"]) for m in BOUNDS) for eps in radii),
        ]
        for method in methods_of(kept)
    ]  # fmt: skip
    return markdown(["EmpLB – FaithUB", *(f"ε = {radius(eps)}" for eps in radii)], rows)


def differences_table(kept: Claim) -> str:
    """The last method asked for, less each other one, seed by seed, at the training radius."""
    eps, last = kept["settings"]["train_eps"], kept["settings"]["methods"][-1]
    rows: dict[str, list[str]] = {}
    for row in kept["contrasts"]:
        if row["a"] == last and metric_parts(row["metric"])[1] == eps:
            ends = interval((row["low"], row["high"]))
            said = f"{row['difference']:+.3f}".replace("-", "−") + (f" ({ends})" if ends else "")
            rows.setdefault(row["b"], []).append(f"{said}, {row['verdict']}")
    name = NAMES.get(last, last)
    return markdown(
        [f"{name} less ... at ε = {radius(eps)}", "EmpLB, mean", "FaithUB, mean"],
        [[NAMES.get(other, other), *cells] for other, cells in rows.items()],
    )


def made(kept: Claim) -> str:
    """The commands, as a block that is shown and not run, and how good the teacher is."""
    eps, one = kept["settings"]["train_eps"], methods_of(kept)[0]
    clean, attacked = (percent(found(kept)[one, "accuracy_teacher", at]["mean"]) for at in (0.0, eps))
    said = f"The teacher is right on {clean} of the examined images, under attack within {radius(eps)} on {attacked}."
    return "\n".join(["```text", *kept["commands"], "```", "", said, ""])


KINDS: dict[str, Callable[[Claim], str]] = {
    "methods": methods_table, "radii": radii_table, "differences": differences_table, "made": made,
}  # fmt: skip


def load(name: str) -> dict[str, Any]:
    """A kept claim."""
    kept: dict[str, Any] = json.loads((RESULTS / f"compare-{name}.json").read_text(encoding="utf-8"))
    return kept


def filled(text: str) -> str:
    """The page with every table whose claim is kept; a place without a claim stays as it is."""

    def fill(place: re.Match[str]) -> str:
        if not (RESULTS / f"compare-{place['name']}.json").exists():
            return place[0]
        return place["open"] + KINDS[place["kind"]](load(place["name"])) + place["close"]

    return PLACE.sub(fill, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="a folder that `understudy compare` wrote")
    parser.add_argument("--keep", metavar="NAME", help="keep as results/compare-NAME.json")
    args = parser.parse_args()
    if args.keep and not args.folder:
        parser.error("--keep needs the folder of a comparison")
    if args.folder:
        kept = claim(args.folder)
        if not args.keep:
            print("\n".join(KINDS[kind](kept) for kind in ("methods", "radii", "differences")))
            return
        rows = json.dumps(kept, ensure_ascii=False).replace("}, {", "},\n{")
        (RESULTS / f"compare-{args.keep}.json").write_text(rows + "\n", encoding="utf-8")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
