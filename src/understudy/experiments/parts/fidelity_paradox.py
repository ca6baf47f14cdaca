"""What `generalization_vs_fidelity` makes of its figures: the parts of the claim, and two sections of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from understudy.experiments.base import Result, Setting
from understudy.experiments.findings import Finding, judge, untold
from understudy.fidelity.intervals import mean_over_seeds
from understudy.report.forest import Entry, forest
from understudy.report.layout import panels, section
from understudy.report.marks import dot, line, slot
from understudy.report.markup import Markup, el
from understudy.report.plot import Frame, Tick, axes, chart, nice_ticks, panel
from understudy.report.words import number, percent

LITTLE = 0.05  # of accuracy: the paper's own objectives lie up to 4 points apart where it finds no difference
WEAK = 0.3  # a rank correlation nearer to 0 than this counts as weak
_CORRELATED = {
    "agreement does not go with accuracy": "agreement",
    "wording does not go with accuracy": "bleu",
}  # parts that say nothing where all students are alike
PerSeed = Float[np.ndarray, " seeds"]
Values = Mapping[tuple[str, str], Sequence[float]]


def judge_paradox(students: Sequence[str], ways: Sequence[str], values: Values) -> list[Finding]:
    """The ten parts of the claim; `ways` are the objectives with a teacher, forward KL first."""
    small, middle, large = students[0], middle_of(students), students[-1]

    def gain(metric: str, student: str) -> PerSeed:
        """Per seed: the mean of the objectives less SFT."""
        taught = np.mean([values[f"{student}, {way}", metric] for way in ways], axis=0)
        found: PerSeed = taught - np.asarray(values[f"{student}, SFT", metric])
        return found

    def accuracy(setting: str) -> PerSeed:
        return np.asarray(values[f"{middle}, {setting}", "accuracy"])

    by_way = [np.mean([values[f"{s}, {way}", "accuracy"] for s in students], axis=0) for way in ways]
    apart = np.max(by_way, axis=0) - np.min(by_way, axis=0)
    at = {1: accuracy(ways[0]), **{tau: accuracy(f"{ways[0]}, τ = {tau}") for tau in (2, 5)}}
    parts: list[tuple[str, str, PerSeed, bool]] = [
        (
            "distillation helps the smallest",
            f"gain of {small}, mean of the objectives",
            gain("accuracy", small),
            True,
        ),
        (
            "the smallest gains most",
            f"gain of {small} less gain of {large}",
            gain("accuracy", small) - gain("accuracy", large),
            True,
        ),
        (
            "agreement rises",
            "agreement with the teacher after distillation less after SFT, mean of sizes and objectives",
            np.mean([gain("agreement", one) for one in students], axis=0),
            True,
        ),
        (
            "wording follows",
            "BLEU against the teacher’s text after distillation less after SFT, mean of sizes and objectives",
            np.mean([gain("bleu", one) for one in students], axis=0),
            True,
        ),
        (
            "agreement does not go with accuracy",
            f"{WEAK:g} less the size of the rank correlation of the two over all students of the tuned teacher",
            WEAK - np.abs(correlations("agreement", values)),
            False,
        ),
        (
            "wording does not go with accuracy",
            f"{WEAK:g} less the size of the rank correlation of BLEU and accuracy over the same students",
            WEAK - np.abs(correlations("bleu", values)),
            False,
        ),
        (
            "an un-tuned teacher hurts",
            f"accuracy of {middle} after SFT less that after forward KL from the un-tuned teacher",
            accuracy("SFT") - accuracy(f"{ways[0]}, un-tuned teacher"),
            True,
        ),
        ("temperature 2 beats 1", f"accuracy of {middle} at τ = 2 less that at τ = 1", at[2] - at[1], True),
        (
            "temperature 5 is too much",
            f"accuracy of {middle} at τ = 2 less that at τ = 5",
            at[2] - at[5],
            True,
        ),
        (
            "objectives differ little",
            f"{100 * LITTLE:g} points less the lead of the best objective over the worst in accuracy, mean of sizes",
            LITTLE - apart,
            True,
        ),
    ]
    constant = {name for name, metric in _CORRELATED.items() if not varies(metric, values)}
    return [
        (untold if name in constant else judge)(name, what, found.tolist(), share)
        for name, what, found, share in parts
    ]


def middle_of(students: Sequence[str]) -> str:
    """The student of the middle size, the lower of two: the smallest is too near to guessing to show harm."""
    return students[(len(students) - 1) // 2]


def tuned(names: Sequence[str]) -> list[str]:
    """The settings whose students are held against the tuned teacher."""
    return [name for name in names if "un-tuned" not in name]


def varies(metric: str, values: Values) -> bool:
    """Whether in every seed neither the metric nor the accuracy is the same in all of the tuned teacher's students."""
    names = tuned(list(dict.fromkeys(name for name, _ in values)))
    return all(
        np.ptp(np.asarray([values[n, what] for n in names]), axis=0).all() for what in (metric, "accuracy")
    )


def correlations(metric: str, values: Values) -> PerSeed:
    """Spearman's rank correlation of a metric with the accuracy over the tuned teacher's students: one a seed.

    In [-1, 1]; 0 where either is the same in all.
    """
    names = tuned(list(dict.fromkeys(name for name, _ in values)))
    one, other = (np.asarray([values[name, what] for name in names]).T for what in (metric, "accuracy"))
    return np.asarray([rank_correlation(a, b) for a, b in zip(one, other, strict=True)])


def rank_correlation(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """Spearman's, ties at their mean rank; 0 where one side is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def paradox_sections(
    students: Sequence[str], ways: Sequence[str], settings: Sequence[Setting], result: Result
) -> list[Markup]:
    """The gains, a panel a size; and agreement and BLEU against accuracy."""
    rows = {(row["setting"], row["seed"]): row for row in result.rows}
    entries = []
    for student in students:
        for place, way in enumerate(ways):
            gains = [
                rows[f"{student}, {way}", seed]["accuracy"] - rows[f"{student}, SFT", seed]["accuracy"]
                for seed in result.seeds
            ]
            marks = list(zip(result.seeds, gains, strict=True))
            entries.append(
                Entry(f"{student} {way}", slot(place), place, marks, *mean_over_seeds(gains), None)
            )
    gains_by_size = section(
        "What the teacher adds, by size",
        panels(panel("Gain", forest("Gain", "gain", entries), "Accuracy less SFT’s.")),
        lead="The gain of each student over the one of its size that had no teacher, as a fraction: 0.1 is 10 "
        "points. Below 0 the teacher did harm. The smallest student first.",
    )
    names = tuned([one.name for one in settings])
    teacher = float(np.mean([rows[names[0], seed]["teacher_accuracy"] for seed in result.seeds]))
    both = panels(
        *(_scatter(metric, students, ways, names, result, teacher) for metric in ("agreement", "bleu"))
    )
    keys = [
        el("span", el("span", class_=f"swatch {slot(place)}"), way, class_="key")
        for place, way in enumerate([*ways, "SFT"])
    ]
    return [
        gains_by_size,
        section(
            "Copying the teacher against being right",
            el("p", *keys, class_="keys"),
            both,
            lead="A mark is a student of one seed; its shape is its size: "
            + ", ".join(f"{one} {shape}" for one, shape in zip(students, _SHAPES, strict=False))
            + ". If copying made a student right, the marks would lie on a rising line; if the two had nothing to do "
            "with each other, in a cloud without direction.",
        ),
    ]


_SHAPES = ("a disc", "a square", "a triangle", "a diamond", "a triangle on its tip", "a plus", "a cross")


def _scatter(
    metric: str,
    students: Sequence[str],
    ways: Sequence[str],
    names: Sequence[str],
    result: Result,
    teacher: float,
) -> Markup:
    title = {"agreement": "Agreement of answers", "bleu": "Wording (BLEU)"}[metric]
    rows = [row for row in result.rows if row["setting"] in names]
    x_range, y_range = _range([row["accuracy"] for row in rows]), _range([row[metric] for row in rows])
    frame = Frame(x_range, y_range)
    marks: list[str | None] = [axes(frame, _ticks(x_range), _ticks(y_range), "accuracy", "")]
    if metric == "agreement":
        marks += _possible(frame, teacher)
    for row in rows:
        student, way, *_ = row["setting"].split(", ")  # a model's own commas have no space after them
        place = [*ways, "SFT"].index(way)
        x, y = row["accuracy"], row[metric]
        read = f"{row['setting']}, seed {row['seed']}: accuracy {percent(x)}, {percent(y)}"
        spot = frame.x(x), frame.y(y)
        marks.append(dot(*spot, slot(place), read, students.index(student), 0.9))
    seen = {(row["setting"], row["seed"]): row for row in rows}
    values = {
        (name, what): [seen[name, seed][what] for seed in result.seeds]
        for name in names
        for what in (metric, "accuracy")
    }
    mean = mean_over_seeds(correlations(metric, values).tolist())[0]
    caption = f"Rank correlation {number(mean, 2).replace('-', '−')}, the mean of those of each seed."
    if metric == "agreement":
        caption += (
            " Dotted, the most and the least agreement that an accuracy allows beside a teacher of "
            f"{percent(teacher)}, the mean over seeds."
        )
    return panel(title, chart(frame, title, caption, *marks), caption)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.02
    return max(low - pad, 0.0), min(high + pad, 1.0)


def _ticks(span: tuple[float, float]) -> list[Tick]:
    return [(value, f"{100 * float(value):.10g}%") for value, _ in nice_ticks(*span, 4)]


def _possible(frame: Frame, teacher: float) -> list[Markup]:
    """Bounds of the agreement: 1 - |a - t| above, a + t - 1 below, inside the frame."""
    (left, right), (floor, top) = frame.x_range, frame.y_range
    found = []
    for bound in (lambda a: 1 - abs(a - teacher), lambda a: a + teacher - 1):
        spots = [left + (right - left) * k / 200 for k in range(201)]
        inside = [(x, bound(x) if floor <= bound(x) <= top else None) for x in spots]
        found.append(line(frame, inside, "ideal"))
    return found
