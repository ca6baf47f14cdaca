"""From rows of measurements to means, intervals, paired differences and verdicts.

A metric that is a mean over examples has an interval over seeds and examples (`fidelity.crossed`); any other, over
seeds. A verdict is about the difference to a reference, paired by seed and, where there are some, by example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.fidelity.crossed import crossed_difference, crossed_mean
from understudy.fidelity.intervals import mean_over_seeds, paired_difference, verdict
from understudy.jobs.comparison_methods import UNDISTILLED, named_as, reference_of, undistilled_of
from understudy.jobs.comparison_values import ByExample

DECIDING = ("accuracy", "kl")  # is it right more often; does it say what the teacher says
LOWER_IS_BETTER = ("lower_mean", "upper_mean", "upper_max", "kl", "total_variation", "relative_ece")
UNBOUNDED = ("kl", "nll_student", "brier_student", "train_seconds", "peak_megabytes")
NO_QUALITY = ("accuracy_teacher", "train_seconds", "peak_megabytes")
PAIRS = 8  # up to so many methods asked for, each is held against each other too
Rows = Sequence[Mapping[str, Any]]
Table = dict[tuple[str, str], dict[int, float]]


def higher_is_better(metric: str) -> bool | None:
    """Which way a metric is good; None for those that are not a quality (the teacher's, time and memory)."""
    name = metric.split("@")[0]
    if name in NO_QUALITY:
        return None
    return not (name in LOWER_IS_BETTER or (name.endswith("_student") and not name.startswith("accuracy")))


class Judge:
    """The measurements in order, and what is said of them."""

    def __init__(self, rows: Rows, seeds: Sequence[int], examples: ByExample | None = None) -> None:
        self.seeds, self.examples = seeds, examples or {}
        self.table: Table = {}
        for row in rows:
            self.table.setdefault((row["method"], row["metric"]), {})[row["seed"]] = row["value"]

    def summary(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """A row a method and metric: mean, interval, and the verdict against the method's reference."""
        found = []
        for (method, metric), values in self.table.items():
            shared = [s for s in self.seeds if s in values]
            mean, low, high = mean_over_seeds([values[s] for s in shared])
            many = self._by_example(method, metric, shared)
            if many is not None:
                _, low, high = crossed_mean(many)
            if low is not None and high is not None:  # none is negative; shares and bounds end at 1
                low, high = max(low, 0.0), high if metric.split("@")[0] in UNBOUNDED else min(high, 1.0)
            reference = named_as(reference_of(method), names)
            said = None
            if reference != method and higher_is_better(metric) is not None:
                said = self.contrast(metric, method, reference)["verdict"]
            found.append(
                {"method": method, "metric": metric, "mean": mean, "low": low, "high": high, "verdict": said,
                 "reference": reference, "seeds": len(shared),
                 "over": "seeds" if many is None else "seeds and examples"}
            )  # fmt: skip
        return found

    def verdicts(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The deciding metrics of every method against its reference: difference, interval, verdict."""
        return [
            self.contrast(metric, method, reference)
            for metric in DECIDING
            for method in names
            if (reference := named_as(reference_of(method), names)) != method
            and (method, metric) in self.table
            and (reference, metric) in self.table
        ]

    def contrasts(self, asked: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """Paired differences a - b on every metric.

        Every method against its reference and the undistilled students; up to eight that were asked for also
        against each other.
        """
        pairs: list[tuple[str, str]] = []
        if len(asked) <= PAIRS:
            pairs += [(a, b) for a in asked for b in asked]
        for a in names:
            held = (reference_of(a), UNDISTILLED, undistilled_of(a))
            pairs += [(a, b) for b in (named_as(r, names) for r in held) if b in names]
        metrics = dict.fromkeys(metric for _, metric in self.table if higher_is_better(metric) is not None)
        return [
            self.contrast(metric, a, b)
            for metric in metrics
            for a, b in dict.fromkeys(pairs)
            if a != b and (a, metric) in self.table and (b, metric) in self.table
        ]

    def contrast(self, metric: str, a: str, b: str) -> dict[str, Any]:
        """a - b on one metric over the seeds that both have; all None without any."""
        left, right = self.table.get((a, metric), {}), self.table.get((b, metric), {})
        both = [s for s in self.seeds if s in left and s in right]
        found: dict[str, Any] = {"metric": metric, "a": a, "b": b}
        if not both:
            return {**found, "difference": None, "low": None, "high": None, "verdict": None}
        difference, low, high = paired_difference([left[s] for s in both], [right[s] for s in both])
        one, other = self._by_example(a, metric, both), self._by_example(b, metric, both)
        if one is not None and other is not None:
            _, low, high = crossed_difference(one, other)
        said = verdict(low, high, bool(higher_is_better(metric)))
        return {**found, "difference": difference, "low": low, "high": high, "verdict": said}

    def _by_example(self, method: str, metric: str, seeds: Sequence[int]) -> np.ndarray | None:
        """(S, N), where there are values by example."""
        found = self.examples.get((method, metric), {})
        if not seeds or any(seed not in found for seed in seeds):
            return None
        return np.stack([found[seed] for seed in seeds])
