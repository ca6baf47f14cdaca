"""Numbers as readers see them. What is absent or not finite reads "not measured", never NaN or None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.report.markup import Number

ABSENT = "not measured"
SHARES = frozenset(
    [
        "agreement",
        "certified_agreement",
        "closed_fraction",
        "accuracy",
        "accuracy_teacher",
        "accuracy_student",
    ]
)
_LABELS = {
    "lower_mean": "EmpLB, mean",
    "lower_max": "EmpLB, max",
    "upper_mean": "FaithUB, mean",
    "upper_max": "FaithUB, max",
    "closed_fraction": "closed",
    "certified_agreement": "certified agreement",
    "agreement": "agreement",
    "accuracy_teacher": "teacher’s accuracy",
    "accuracy_student": "student’s accuracy",
    "kl": "KL, nats",
    "total_variation": "total variation",
    "relative_ece": "relative ECE",
    "train_seconds": "training, seconds",
    "peak_megabytes": "memory, MB",
    "ece_student": "ECE, student",
    "ece_teacher": "ECE, teacher",
    "nll_student": "NLL, student",
    "nll_teacher": "NLL, teacher",
    "brier_student": "Brier, student",
    "brier_teacher": "Brier, teacher",
}


def present(value: Number | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def number(value: Number | None, digits: int = 3) -> str:
    """A difference of confidences or another plain quantity, with `digits` decimals."""
    if value is None or not math.isfinite(value):
        return ABSENT
    smallest = 10.0**-digits
    if 0 < abs(value) < smallest / 2:
        return f"<{smallest:.{digits}f}" if value > 0 else f">-{smallest:.{digits}f}"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.4g}"


def percent(value: Number | None) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{100 * value:.1f}%"


def interval(ends: Sequence[Number | None] | None, share: bool = False) -> str:
    """A 95 % interval as "low–high" (percent if `share`), or "" where there is none."""
    if ends is None or not all(present(end) for end in ends):
        return ""
    low, high = (float(end) for end in ends if end is not None)
    dash = " to " if low < 0 else "–"
    text = f"{100 * low:.1f}{dash}{100 * high:.1f}%" if share else f"{number(low)}{dash}{number(high)}"
    return text.replace("-", "−")


def radius(eps: Number) -> str:
    """A radius: k/255 where it is one and no short decimal, else up to four digits."""
    short = f"{eps:.4g}"
    steps = round(eps * 255)
    if float(short) != eps and 0 < steps < 255 and abs(eps * 255 - steps) < 1e-4:
        return f"{steps}/255"
    return short


def same_radius(one: Number, other: Number) -> bool:
    """Whether two radii are one, up to the six digits that a metric's name keeps."""
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-12)


def count(amount: int, noun: str) -> str:
    """ "1 point", "1,204 points"."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def norm_name(norm: str) -> str:
    """ "l∞" for linf, "l₂" for l2."""
    return {"linf": "l∞", "l2": "l₂"}.get(norm, norm)


def metric_parts(metric: str) -> tuple[str, float | None]:
    """A metric of compare.json, `name` or `name@eps`, as name and radius."""
    name, _, tail = metric.rpartition("@")
    try:
        return (name, float(tail)) if name else (metric, None)
    except ValueError:
        return metric, None


def metric_label(name: str) -> str:
    """What a metric is called on the page; an unknown one keeps its name with spaces."""
    return _LABELS.get(name, name.replace("_", " "))


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def metric_value(name: str, value: Number | None) -> str:
    """A metric's value in its unit: percent for shares, else three decimals."""
    return percent(value) if name in SHARES else number(value)


def plain(value: Any) -> str:
    """A setting or an entry of the environment as text; null reads "not set"."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ABSENT
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text) in their order."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        else:
            rows.append((name, plain(value)))
    return rows
