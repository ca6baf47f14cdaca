"""What a comparison says in short: the columns of its table, its verdicts in sentences, what failed or was left out.

Read from compare.json alone, so that the terminal, the page and a table in a document say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.report.words import count, metric_label, metric_parts, present, same_radius, sentence

COLUMNS = (
    "accuracy", "agreement", "kl", "relative_ece", "lower_mean", "upper_mean", "train_seconds", "peak_megabytes",
)  # fmt: skip
AT_FOCUS = ("lower_mean", "upper_mean")  # the others are of the inputs as they are, over the whole split
BY_CHANCE = 0.025  # of methods equal to their reference, how many a 95 % interval calls better
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """A comparison in short.

    Attributes:
        methods: those with measurements, in the order of compare.json, then those whose every run failed.
        focus: the radius of `AT_FOCUS`, or None where there is none.
        columns: those of `COLUMNS` that were measured, as compare.json calls them.
        cells: (method, column) -> its row of the summary.
        teacher: column -> the teacher's own value.
    """

    methods: list[str]
    focus: float | None
    columns: list[str]
    cells: dict[tuple[str, str], Row]
    teacher: dict[str, float]
    content: Row

    def sentences(self) -> list[str]:
        """The verdicts on the deciding metrics, and how many to expect by chance."""
        rows: Sequence[Row] = self.content.get("verdicts") or []
        said = []
        for metric in dict.fromkeys(str(row["metric"]) for row in rows):
            groups: dict[str, dict[str, list[str]]] = {}
            for row in rows:
                if row["metric"] == metric and row.get("verdict"):
                    kinds = groups.setdefault(str(row["b"]), {})
                    kinds.setdefault(str(row["verdict"]), []).append(str(row["a"]))
            said += [
                f"{sentence(metric_label(metric))} against {reference}: "
                + "; ".join(
                    f"{verdict} {', '.join(kinds[verdict])}" for verdict in VERDICTS if verdict in kinds
                )
                + "."
                for reference, kinds in groups.items()
            ]
        judged = max(
            (sum(row["metric"] == m for row in rows) for m in {row["metric"] for row in rows}), default=0
        )
        if judged > 1:
            expected = f"{BY_CHANCE * judged:.1f}".removesuffix(".0")
            said.append(
                f"If all {count(judged, 'method')} equalled what they are held against, about {expected} "
                "would be called better on each metric by chance."
            )
        return said

    def absences(self) -> list[str]:
        """A line for every run that failed and every method that was left out."""
        failed: dict[tuple[str, str], list[str]] = {}
        for row in self.content.get("failed") or []:
            failed.setdefault((str(row["method"]), str(row["reason"])), []).append(str(row["seed"]))
        lines = [
            f"{method} failed with seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {why}"
            for (method, why), seeds in failed.items()
        ]
        return lines + [
            f"{row['method']} was left out: {row['reason']}" for row in self.content.get("left_out") or []
        ]


VERDICTS = ("better", "not better", "inconclusive")


def judgement(compare: Row) -> Judgement:
    """The content of compare.json in short."""
    summary: Sequence[Row] = compare.get("summary") or []
    metrics = list(dict.fromkeys(str(row["metric"]) for row in summary))
    radii = sorted({eps for metric in metrics if (eps := metric_parts(metric)[1]) is not None})
    wanted = (compare.get("settings") or {}).get("train_eps")
    near = [eps for eps in radii if wanted is not None and same_radius(eps, wanted)]
    focus = near[0] if near else radii[-1] if radii else None
    columns = []
    for name in COLUMNS:
        at = [m for m in metrics if metric_parts(m) == (name, focus if name in AT_FOCUS else None)]
        columns += at[:1]
    methods = dict.fromkeys(str(row["method"]) for row in summary)
    methods |= dict.fromkeys(str(row["method"]) for row in compare.get("failed") or [])
    own = (compare.get("teacher") or {}).get("measured") or {}
    teacher = {m: float(own[m]) for m in columns if present(own.get(m))}
    cells = {(str(row["method"]), str(row["metric"])): row for row in summary}
    return Judgement(list(methods), focus, columns or metrics[:5], cells, teacher, compare)
