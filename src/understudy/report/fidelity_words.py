"""What a measurement of fidelity says in sentences, and the intervals it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from understudy.auditing.fidelity_record import FidelityPart
from understudy.fidelity.intervals import clopper_pearson
from understudy.fidelity.moments import Estimate
from understudy.report.words import count, interval, number, percent

SHARES = frozenset(
    [
        "agreement",
        "teacher_accuracy",
        "student_accuracy",
        "agreement_where_right",
        "agreement_where_wrong",
    ]
)
NAMES = {
    "agreement": "agreement",
    "kl": "KL, nats",
    "total_variation": "total variation",
    "jensen_shannon": "Jensen-Shannon distance",
    "wasserstein": "Wasserstein distance",
    "teacher_accuracy": "teacher’s accuracy",
    "student_accuracy": "student’s accuracy",
    "accuracy_gap": "student’s less teacher’s accuracy",
    "agreement_where_right": "agreement where the teacher is right",
    "agreement_where_wrong": "agreement where the teacher is wrong",
}

_LEFT = {"labels": "the labels were", "answers": "the information of the answers was"}


def ends_of(name: str, one: Estimate) -> tuple[float, float] | None:
    """The 95 % interval over examples: Clopper and Pearson's of a share, else 1.96 standard errors; None of one."""
    if name in SHARES:
        return clopper_pearson(round(one.mean * one.count), one.count)
    return ends_of_mean(one)


def ends_of_mean(one: Estimate) -> tuple[float, float] | None:
    """1.96 standard errors over examples to either side, as of a difference of shares; None of one example."""
    if one.error is None:
        return None
    return one.mean - 1.96 * one.error, one.mean + 1.96 * one.error


def written(name: str, one: Estimate) -> str:
    """The mean in its unit."""
    return percent(one.mean) if name in SHARES else number(one.mean).replace("-", "−")


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """A sentence for everything that was not measured, with the reason."""
    said = []
    for key, why in skipped.items():
        name, _, what = key.partition(": ")
        left = f"On {name} data {_LEFT[what]} left out" if what else f"Not measured on {name} data"
        said.append(f"{left}: {why}.")
    return said


def said_of(parts: Sequence[FidelityPart]) -> list[str]:
    """Did the student copy its teacher, more than another teacher would have, and is it as sure? In sentences."""
    by = {one.name: one for one in parts}
    main = by.get("test") or parts[0]
    said = [_same(main, [one for one in parts if one is not main])]
    if main.excess:
        said.append(_beside(main))
    said += [_accuracy(main)] if "accuracy_gap" in main.pair else []
    said += [_sure(main)]
    return said


def _where(part: FidelityPart) -> str:
    return f"{part.name} inputs"


def _same(main: FidelityPart, others: Sequence[FidelityPart]) -> str:
    one = main.pair["agreement"]
    elsewhere = ", ".join(f"{percent(p.pair['agreement'].mean)} on {_where(p)}" for p in others)
    return (
        f"The student gives its teacher’s answer on {percent(one.mean)} of {count(main.examples, 'input')} "
        f"({main.name}; 95% interval {interval(ends_of('agreement', one), True)})"
        + (f"; {elsewhere}." if elsewhere else ".")
    )


def _beside(main: FidelityPart) -> str:
    among = len(main.floors)
    mean = sum(one["agreement"].mean for one in main.floors) / among
    who = "Another teacher agrees" if among == 1 else f"{among} other teachers agree, on average,"
    ends = ends_of("kl", main.excess["kl"])
    verdict = "cannot be told from theirs"
    if ends is not None and ends[0] > 0:
        verdict = "is farther away than they are" if among > 1 else "is farther away than that one is"
    elif ends is not None and ends[1] < 0:
        verdict = "is nearer than they are" if among > 1 else "is nearer than that one is"
    elif among == 1:
        verdict = "cannot be told from that one’s"
    subject = "the student" if "cannot" not in verdict else "the student’s distance"
    return (
        f"{who} with the teacher on {percent(mean)}; in KL {subject} {verdict} (difference "
        f"{number(main.excess['kl'].mean).replace('-', '−')} nats"
        + (f", 95% interval {interval(ends)})." if ends is not None else ").")
    )


def _accuracy(main: FidelityPart) -> str:
    gap, wrong = main.pair["accuracy_gap"], main.pair.get("agreement_where_wrong")
    ends = ends_of("accuracy_gap", gap)
    word = "cannot be told from"
    if ends is not None and ends[0] > 0:
        word = "is above"
    elif ends is not None and ends[1] < 0:
        word = "is below"
    said = (
        f"Its accuracy, {percent(main.pair['student_accuracy'].mean)}, {word} its teacher’s, "
        f"{percent(main.pair['teacher_accuracy'].mean)}"
    )
    if wrong is None:
        return said + "."
    return f"{said}; of the teacher’s {count(wrong.count, 'mistake')} it makes {percent(wrong.mean)} the same way."


def _sure(main: FidelityPart) -> str:
    plain = next((one for one in main.temperatures if one.temperature == 1), main.temperatures[0])
    at = "" if plain.temperature == 1 else f" at temperature {plain.temperature:g}"
    said = f"Its confidence differs from its teacher’s by {number(plain.relative_ece)} (relative ECE{at})"
    if plain.ece_teacher is None or plain.ece_student is None:
        return said + "."
    said += f"; the ECE is {number(plain.ece_teacher)} of the teacher and {number(plain.ece_student)} of the student"
    if len(main.temperatures) == 1:
        return said + "."
    best = [
        min(main.temperatures, key=lambda one, key=key: getattr(one, key)).temperature  # type: ignore[misc]
        for key in ("nll_teacher", "nll_student")
    ]
    return (
        f"{said}, and of the temperatures tried the likelihood of the labels is best at {best[0]:g} for the teacher, "
        f"{best[1]:g} for the student."
    )
