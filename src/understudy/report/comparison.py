"""What compare.json says, put in order: methods, metrics, radii, the sentences at the head of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from understudy.auditing.record import AuditRecord
from understudy.report.findings import VACUOUS, at_radius
from understudy.report.forest import Entry
from understudy.report.marks import slot
from understudy.report.markup import Number
from understudy.report.radius_charts import Curve
from understudy.report.words import (
    interval,
    metric_label,
    metric_parts,
    metric_value,
    present,
    radius,
    same_radius,
    sentence,
)

BASELINES = frozenset(["ce", "at", "label_smoothing"])
FEW = 8  # methods that one drawing of lines can tell apart: as many as there are colours
FEATURED = (
    "kd",
    "sd",
    "ce",
)  # where there are more, these are drawn, and those with the lowest of this metric:
BY = ("kl", "lower_mean")
LESS_IS_BETTER = frozenset(
    ["lower_mean", "lower_max", "upper_mean", "upper_max", "kl", "total_variation", "relative_ece"]
)


@dataclass(frozen=True)
class Comparison:
    """`methods` in their order, `radii` ascending, `focus`: the radius the head of the page speaks of."""

    methods: list[str]
    seeds: list[int]
    radii: list[float]
    focus: float
    rows: Sequence[Mapping[str, Any]]
    summary: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]

    @property
    def few(self) -> Comparison:
        """The same with the methods that are drawn as lines."""
        return replace(self, methods=self.methods[:FEW])

    @property
    def few_note(self) -> str:
        """Which methods those are; "" if all."""
        if len(self.methods) <= FEW:
            return ""
        return f" Of {len(self.methods)} methods those with the lowest KL are drawn, and the references."

    def whole(self, name: str) -> str | None:
        """The metric `name` over the whole split, without a radius; else as `key`."""
        return name if any(row["metric"] == name for row in self.rows) else self.key(name)

    def key(self, name: str) -> str | None:
        """The metric `name` at the focus radius, else without a radius, as compare.json calls it; or None."""
        here = [row["metric"] for row in self.rows if metric_parts(row["metric"])[0] == name]
        for metric in here:
            eps = metric_parts(metric)[1]
            if eps is not None and same_radius(eps, self.focus):
                return str(metric)
        return next((str(metric) for metric in here if metric_parts(metric)[1] is None), None)

    def entries(self, metric: str) -> list[Entry]:
        """Every method on one metric."""
        out = []
        for place, method in enumerate(self.methods):
            seeds = [
                (int(row["seed"]), float(row["value"]))
                for row in self.rows
                if row["method"] == method and row["metric"] == metric and present(row["value"])
            ]
            found = next((r for r in self.summary if r["method"] == method and r["metric"] == metric), {})
            mean, low, high = (_float(found.get(part)) for part in ("mean", "low", "high"))
            out.append(Entry(method, slot(place), place, seeds, mean, low, high, found.get("verdict")))
        return out


def _float(value: Number | None) -> float | None:
    return float(value) if value is not None and present(value) else None


def arrange(compare: Mapping[str, Any], audits: Mapping[str, Sequence[AuditRecord]]) -> Comparison:
    """Order the content: methods as in `audits`, then any that only the rows name; if many, the featured first."""
    rows, settings = compare["rows"], compare.get("settings") or {}
    methods = list(dict.fromkeys([*audits, *(row["method"] for row in rows)]))
    if len(methods) > FEW:
        methods = _featured_first(methods, compare.get("summary") or [])
    seeds = list(dict.fromkeys(int(row["seed"]) for row in rows))
    radii = sorted({row.eps for seeds_ in audits.values() for audit in seeds_ for row in audit.summary})
    wanted = settings.get("train_eps")
    near = [eps for eps in radii if wanted is not None and same_radius(eps, wanted)]
    focus = near[0] if near else radii[-1]
    return Comparison(methods, seeds, radii, focus, rows, compare.get("summary") or [], settings)


def _featured_first(methods: Sequence[str], summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """The references, then those with the lowest of the first metric of `BY` that was measured, then the others."""
    means = {
        (row["method"], metric_parts(row["metric"])[0]): float(row["mean"])
        for row in summary
        if metric_parts(row["metric"])[0] in BY and present(row["mean"])
    }
    by = next((name for name in BY if any(metric == name for _, metric in means)), "")
    worst = float("inf")
    ranked = sorted(methods, key=lambda m: (m not in FEATURED, means.get((m, by), worst)))
    return [*ranked[:FEW], *(m for m in methods if m not in ranked[:FEW])]


def curves(
    audits: Mapping[str, Sequence[AuditRecord]], methods: Sequence[str], name: str, dashed: bool = False
) -> list[Curve]:
    """A summary field (or "vacuous") of every method over eps.

    Mean over seeds, band from the lowest to the highest seed; with one seed its own interval.
    """
    out = []
    for place, method in enumerate(methods):
        seeds = audits.get(method) or []
        if not seeds:
            continue
        rows: list[tuple[float, float | None, float | None, float | None]] = []
        for at, first in enumerate(seeds[0].summary):
            here = [seed for seed in seeds if at < len(seed.summary)]
            values = [
                vacuous_share(s, at) if name == "vacuous" else getattr(s.summary[at], name) for s in here
            ]
            known = [float(value) for value in values if value is not None]
            if not known:
                rows.append((first.eps, None, None, None))
            elif len(known) == 1:
                ends = getattr(first, f"{name}_interval", None) or (None, None)
                rows.append((first.eps, known[0], *ends))
            else:
                rows.append((first.eps, sum(known) / len(known), min(known), max(known)))
        out.append(Curve(method, slot(place), rows, dashed, place))
    return out


def ranking(comparison: Comparison, name: str) -> str | None:
    """One sentence: which method has the best mean on this metric, which comes next."""
    metric = comparison.key(name)
    if metric is None:
        return None
    known = [(e.mean, e) for e in comparison.entries(metric) if e.mean is not None]
    if not known:
        return None
    known.sort(key=lambda pair: pair[0], reverse=name not in LESS_IS_BETTER)
    eps = metric_parts(metric)[1]
    at = f" at ε = {radius(eps)}" if eps is not None else ""
    best = known[0][1]
    ends = interval((best.low, best.high), name in ("agreement", "certified_agreement", "accuracy_student"))
    said = f"{metric_label(name)}{at}: {best.method} has the "
    said += "lowest" if name in LESS_IS_BETTER else "highest"
    said += f", {metric_value(name, best.mean)}" + (f" ({ends})" if ends else "")
    if len(known) > 1:
        rest = ", ".join(f"{e.method} {metric_value(name, e.mean)}" for _, e in known[1:FEW])
        more = f" and {len(known) - FEW} more" if len(known) > FEW else ""
        said += f"; then {rest}{more}"
    return sentence(said) + "."


def verdicts(comparison: Comparison, name: str) -> str | None:
    """Verdicts on one metric in one sentence, grouped by what they are held against and what they say."""
    metric = comparison.key(name)
    usual = comparison.settings.get("reference")
    groups: dict[str, dict[str, list[str]]] = {}
    for row in comparison.summary:
        if row["metric"] == metric and row.get("verdict"):
            against = str(row.get("reference") or usual or "")
            groups.setdefault(against, {}).setdefault(str(row["verdict"]), []).append(str(row["method"]))
    said = [
        (f"against {against}: " if against else "")
        + ", ".join(f"{_listed(methods)} {verdict}" for verdict, methods in found.items())
        for against, found in groups.items()
    ]
    return f"Verdict on {metric_label(name)}, {'; '.join(said)}." if said else None


def _listed(methods: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(methods[:-1]), methods[-1]] if len(methods) > 1 else methods)


def vacuous(comparison: Comparison, audits: Mapping[str, Sequence[AuditRecord]]) -> str | None:
    """At how many counted points of each method the certificate says nothing at the focus radius."""
    said = []
    for method in comparison.methods:
        empty, total = 0, 0
        for audit in audits.get(method) or []:
            places = [k for k, row in enumerate(audit.summary) if row.eps == comparison.focus]
            uppers = [value for k in places for value, _ in at_radius(audit, k, "upper")]
            empty, total = empty + sum(value >= VACUOUS for value in uppers), total + len(uppers)
        if total:
            said.append(f"{method} {empty} of {total}")
    if not said:
        return "No upper bound was asked for, so nothing is proved about any method."
    if all(" 0 of " in one for one in said):
        return (
            f"At no counted point of any method is the certificate vacuous (FaithUB of {VACUOUS:g} or more) at "
            f"ε = {radius(comparison.focus)}."
        )
    what = f"Points at which the certificate is vacuous (FaithUB of {VACUOUS:g} or more) at ε = "
    return f"{what}{radius(comparison.focus)}, of those counted: {', '.join(said)}."


def vacuous_share(audit: AuditRecord, place: int) -> float | None:
    """Share of counted points with a bound at one radius whose bound says nothing; None without bounds."""
    uppers = at_radius(audit, place, "upper")
    return sum(value >= VACUOUS for value, _ in uppers) / len(uppers) if uppers else None


def baseline_note(comparison: Comparison) -> str:
    """Whether the undistilled student at equal budget is in the table."""
    here = [method for method in comparison.methods if method in BASELINES]
    if here:
        return f"Undistilled students at equal budget are included: {', '.join(here)}."
    missing = "No undistilled student at equal budget (ce, label_smoothing, at) is here, so "
    return missing + "what distilling adds is not measured."
