"""The sections of the page of `faithful_kd`: bounds over the radius, around D in every setting, and what stays open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from understudy.experiments.base import Result, Setting
from understudy.experiments.findings import judge
from understudy.experiments.parts.faithful_kd_settings import METHODS, Distilled, Sizes
from understudy.fidelity.intervals import mean_over_seeds
from understudy.report.layout import panels, section
from understudy.report.marks import slot
from understudy.report.markup import Markup, el
from understudy.report.plot import UNIT, Frame, chart, panel
from understudy.report.radius_charts import Curve, over_radius
from understudy.report.tables import cell, table
from understudy.report.words import interval, number, radius

_STEP = 26
BESIDE = "another teacher"
Changed = Callable[[str, str, str], list[float]]
_SAYS = {"appeared": "yes", "did not appear": "no", "cannot be told": "cannot be told"}


def radius_curves(scale: Sizes, result: Result) -> Markup:
    """EmpLB and FaithUB of the four methods over the radius."""
    drawn = []
    for key, title, caption in (
        ("lower", "Found by attack: EmpLB", "D is at least this."),
        ("upper", "Proved: FaithUB", "D is at most this."),
    ):
        curves = [_curve(scale, result, name, f"{key}_curve", name) for name in METHODS]
        curves.append(_curve(scale, result, "FD", f"floor_{key}_curve", BESIDE))
        drawn.append(panel(title, over_radius(title, "mean difference", curves, norm="l∞"), caption))
    return section(
        "Over the radius",
        panels(*drawn),
        lead="Means over the points that the teacher gets right, then over seeds, with 95% intervals over seeds. A "
        "radius of 0 is the input itself. Dashed, a second robust teacher that differs in its seed alone.",
    )


def _curve(scale: Sizes, result: Result, setting: str, key: str, label: str) -> Curve:
    seen = [row[key] for row in result.rows if row["setting"] == setting]
    rows: list[tuple[float, float | None, float | None, float | None]] = []
    for place, eps in enumerate((0.0, *scale.radii)):
        rows.append((eps, *mean_over_seeds([one[place] for one in seen])))
    if label == BESIDE:
        return Curve(label, "st", rows, dashed=True, shape=len(METHODS))
    place = METHODS.index(label)
    return Curve(label, "si" if label == "FD" else slot(place), rows, shape=place)


def enclosures(scale: Sizes, settings: Sequence[Setting], result: Result) -> Markup:
    """What is known of D in each setting, at the smaller radius and at the training radius."""
    means = {(one.setting, one.metric): one.mean for one in result.summary}
    drawn = []
    for eps, low, high in ((scale.near, "near_lower", "near_upper"), (scale.eps, "lower", "upper")):
        title = f"ε = {radius(eps)}"
        rows = [(one.name, means[one.name, low], means[one.name, high]) for one in settings]
        drawn.append(panel(title, _bars(title, rows), "The mean of D lies in the bar."))
    return section(
        "Between found and proved",
        panels(*drawn),
        lead="From the mean EmpLB (dot) to the mean FaithUB (bar’s end). A long bar says little: there the proof is "
        "loose, the attack weak, or both.",
    )


def _bars(title: str, rows: Sequence[tuple[str, float, float]]) -> Markup:
    frame = Frame((0, 1), (0, 1), left=150, right=20, top=6, bottom=26, height=_STEP * len(rows) + 32)
    floor = frame.height - frame.bottom
    marks: list[str] = []
    for value, name in UNIT:
        marks.append(el("line", x1=frame.x(value), x2=frame.x(value), y1=frame.top, y2=floor, class_="grid"))
        marks.append(el("text", name, x=frame.x(value), y=floor + 16, class_="tick mid"))
    said = []
    for place, (name, low, high) in enumerate(rows):
        y = frame.top + _STEP * place + _STEP / 2
        read = f"{name}: between {number(low)} and {number(high)}"
        said.append(read)
        look = "pt si" if place == 0 else "pt s0"
        ends = frame.x(low), frame.x(high)
        marks.append(el("text", name, x=frame.left - 10, y=y + 4, class_=f"direct end {look[3:]}"))
        marks.append(
            el(
                "g",
                el("title", read),
                el("rect", x=ends[0], y=y - 9, width=max(ends[1] - ends[0], 1.0), height=18, class_="hit"),
                el("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="reach"),
                el("line", x1=ends[1], x2=ends[1], y1=y - 5, y2=y + 5, class_="ceiling"),
                el("circle", cx=ends[0], cy=y, r=3.6, class_="mark"),
                class_=look,
            )
        )
    return chart(frame, title, "; ".join(said), *marks)


def questions(scale: Sizes, settings: Sequence[Setting], result: Result) -> Markup:
    """What changing one thing of FD does, and whether FD is closer than SD for other pairs."""
    values = {(one.setting, one.metric): [value for _, value in one.seeds] for one in result.summary}

    def change(one: str, other: str, metric: str) -> list[float]:
        """`one` less `other`, seed by seed."""
        return [a - b for a, b in zip(values[one, metric], values[other, metric], strict=True)]

    pairs: dict[tuple[str, str], dict[str, Distilled]] = {}
    changed = []
    for one in settings:
        assert isinstance(one, Distilled)
        alone = (one.eps, one.temperature, one.lr) != (scale.eps, scale.temperature, scale.lr)
        if alone:
            changed.append([el("th", one.name, scope="row"), *_changes(one.name, change)])
        elif one.method in ("SD", "FD"):
            pairs.setdefault((one.teacher, one.student), {})[one.method] = one
    closer = []
    for both in pairs.values():
        names = both["SD"].name, both["FD"].name
        label = _who(scale, both["FD"])
        cells: list[str] = [el("th", label, scope="row", class_="value")]
        for metric in ("lower", "near_lower", "near_upper"):
            found = judge(label, "", change(*names, metric), share=False)
            cells.append(cell(_signed(found.mean), interval((found.low, found.high)), _SAYS[found.verdict]))
        gained = mean_over_seeds(change(names[1], names[0], "attacked_accuracy"))
        cells.append(cell(_points(gained[0]), interval(gained[1:], True)))
        closer.append(cells)
    at, near = f"ε = {radius(scale.eps)}", f"ε = {radius(scale.near)}"
    pair_heads = [
        f"EmpLB, {at}",
        f"EmpLB, {near}",
        f"FaithUB, {near}",
        "Accuracy under attack, FD’s less SD’s",
    ]
    heads = [f"EmpLB, {at}", f"FaithUB, {at}", f"EmpLB, {near}", f"FaithUB, {near}", "Accuracy"]
    return section(
        "What the paper leaves open",
        el("h3", "Is FD closer to its teacher than SD, whoever the two are? SD’s bounds less FD’s"),
        table("SD less FD", ["Teacher and student", *pair_heads], closer),
        el(
            "h3",
            "What do FD’s temperature, learning rate and training radius change? The changed FD’s less FD’s",
        ),
        table("One thing changed", ["FD, with one thing changed", *heads], changed),
        lead="Differences, seed by seed, with their 95% intervals. Above: “yes” where the whole interval lies above "
        "0. Below: against FD unchanged; less is closer to the teacher.",
    )


def _changes(name: str, change: Changed) -> list[Markup]:
    cells = []
    for metric in ("lower", "upper", "near_lower", "near_upper"):
        mean, low, high = mean_over_seeds(change(name, "FD", metric))
        cells.append(cell(_signed(mean), interval((low, high))))
    mean, low, high = mean_over_seeds(change(name, "FD", "accuracy"))
    return [*cells, cell(_points(mean), interval((low, high), True))]


def _who(scale: Sizes, one: Distilled) -> str:
    teacher = {"robust": f"{scale.teacher}, robust", "not robust": f"{scale.teacher}, not robust"}
    return f"{teacher.get(one.teacher, f'{scale.other}, robust')} → {one.student}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points".replace("-", "−")
