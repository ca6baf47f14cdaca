"""What an audit says in sentences: what was asked, what was found, what was proved and what was not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from understudy.auditing.record import AuditRecord, PointRecord
from understudy.report.words import ABSENT, count, interval, norm_name, number, percent, radius

VACUOUS = 0.99  # a bound from here on says next to nothing: no two confidences differ by more than 1


@dataclass(frozen=True)
class Headline:
    """One number of the head of the page: what, how much, its interval, what it means."""

    name: str
    value: str
    ends: str
    note: str


def short_source(source: str) -> str:
    """The last two parts of a path, or the name as it is."""
    parts = PurePath(source).parts
    return "/".join(parts[-2:]) if len(parts) > 2 else source


def at_radius(record: AuditRecord, position: int, which: str) -> list[tuple[float, PointRecord]]:
    """The counted points' `lower` or `upper` at one radius, where there is one, largest first."""
    found = []
    for point in record.points:
        value = getattr(point.radii[position], which) if point.counted else None
        if value is not None:
            found.append((float(value), point))
    return sorted(found, key=lambda pair: -pair[0])


def asked(record: AuditRecord) -> str:
    """The question of the audit in one sentence."""
    widest = max(row.eps for row in record.summary)
    points = count(len(record.points), "input")
    where = f"{points} from the {record.data.split} split of {record.data.name}"
    if widest == 0:
        return f"How far do the student’s confidences differ from the teacher’s on {where}, as they are?"
    within = f"anywhere within ε ≤ {radius(widest)} ({norm_name(record.norm)}) of {where}"
    return f"How far can the student’s confidences differ from the teacher’s, {within}?"


def headlines(record: AuditRecord) -> list[Headline]:
    """The four numbers of the head: agreement, worst found, worst proved, certified agreement."""
    clean, last = record.summary[0], record.summary[-1]
    place = len(record.summary) - 1
    same = sum(point.teacher_class == point.student_class for point in record.points)
    eps = radius(last.eps)
    found, proved = at_radius(record, place, "lower"), at_radius(record, place, "upper")
    return [
        Headline(
            "Same answer",
            percent(clean.agreement),
            _ends(interval(clean.agreement_interval, True)),
            f"Both name the same class on {same} of {len(record.points)} inputs as they are; "
            f"on {percent(last.agreement)} where their confidences were found furthest apart within ε = {eps}.",
        ),
        Headline(
            "Worst difference found",
            number(found[0][0]) if found else ABSENT,
            f"mean {number(last.lower_mean)}{_brackets(interval(last.lower_mean_interval))}" if found else "",
            f"Found around point {found[0][1].index}, within ε = {eps}; {count(len(found), 'point')} counted."
            if found
            else "No attack was run on a counted point.",
        ),
        Headline(
            "Worst difference possible",
            f"≤ {number(proved[0][0])}" if proved else ABSENT,
            f"mean {number(last.upper_mean)}{_brackets(interval(last.upper_mean_interval))}"
            if proved
            else "",
            f"Proved for {_each(len(proved))}: nothing within ε = {eps} takes the two further apart."
            if proved
            else f"Skipped: {record.skipped['FaithUB']}."
            if "FaithUB" in record.skipped
            else "No upper bound was asked for, so none is proved.",
        ),
        Headline(
            "Certified agreement",
            percent(last.certified_agreement),
            _ends(interval(last.certified_agreement_interval, True)),
            f"Share of {count(last.counted, 'counted point')} for which it is proved that no input within "
            f"ε = {eps} makes the two name different classes."
            if last.certified_agreement is not None
            else "Nothing was proved about classes.",
        ),
    ]


def _ends(text: str) -> str:
    return f"95% interval {text}" if text else ""


def _brackets(text: str) -> str:
    return f" ({text})" if text else ""


def proved(record: AuditRecord) -> list[str]:
    """Plain sentences: what was proved, where the proof says nothing, what stays open or is not covered."""
    if record.skipped:
        said = [f"Skipped: {name}: {why}." for name, why in record.skipped.items()]
        return [*said, "Nothing is claimed about any input beside those examined."]
    place = len(record.summary) - 1
    last = record.summary[place]
    counted = [point for point in record.points if point.counted]
    eps = radius(last.eps)
    if not counted:
        return ["No point is counted, so nothing was found or proved about differences of confidence."]
    out = []
    uppers = at_radius(record, place, "upper")
    if not uppers:
        out.append(
            "Nothing was proved: no upper bound was asked for. What stands here is what the attack "
            "found, and "
            "a stronger attack may find more."
        )
    else:
        same = sum(point.radii[place].same_class is True for point in counted)
        out.append(
            f"Proved: around {_each(len(uppers))} no input within ε = {eps} makes "
            f"any class’s confidence differ by more than {number(uppers[0][0])}; at {same} of them the two "
            "models name one class on the whole ball."
        )
        out.insert(0, known(record, place))
        out.append(_vacuous(record))
    different = sum(point.radii[place].same_class is False for point in counted)
    unknown = sum(point.radii[place].same_class is None for point in counted)
    out.append(
        f"Not proved: at {count(different, 'point')} an input was found on which they name different "
        "classes, "
        f"and at {unknown} the question is open."
    )
    late = sum(one.status == "timeout" for point in counted for one in point.radii)
    if late:
        out.append(f"The time limit came first {count(late, 'time')}; those bounds hold, but are looser.")
    left = len(record.points) - len(counted)
    scope = f"{left} examined points are not counted. " if left > 1 else "1 examined point is not counted. "
    out.append((scope if left else "") + "Nothing is claimed about inputs outside these balls.")
    return out


def known(record: AuditRecord, place: int) -> str:
    """One sentence: for how many points the difference is known, where it lies for the others, what is not said."""
    rows = [point.radii[place] for point in record.points if point.counted]
    closed = sum(one.status == "exact" for one in rows)
    opened = [
        (one.upper - one.lower, point.index, one)
        for point in record.points
        if (one := point.radii[place]).status != "exact" and one.upper is not None and one.lower is not None
    ]
    at = f"At ε = {radius(record.summary[place].eps)}"
    least = f"{float(record.settings.get('tolerance') or 0.0):g}"
    end = "nothing is claimed about other inputs or larger radii."
    meet = f"the largest difference is known to within {least}"
    if not opened:
        return f"{at}, for {_all(closed)} {meet}; {end}"
    if len(opened) <= 3:
        each = [
            f"between {number(one.lower)} and {number(one.upper)} (point {index})"
            for _, index, one in sorted(opened, key=lambda row: row[1])
        ]
        where = f"it lies somewhere {' and '.join([', '.join(each[:-1]), each[-1]] if each[1:] else each)}"
    else:
        gaps = sorted(gap for gap, _, _ in opened)
        where = (
            f"it lies somewhere between what was found and what was proved, {number(gaps[0])} to "
            f"{number(gaps[-1])} apart"
        )
    if not closed:
        points = count(len(rows), "point")
        return f"{at}, the largest difference is not known exactly for any of {points}: {where}; {end}"
    rest = "the other one" if len(opened) == 1 else f"the other {len(opened)}"
    return f"{at}, for {closed} of {count(len(rows), 'point')} {meet}; for {rest} {where}; {end}"


def _all(points: int) -> str:
    return "the one point" if points == 1 else f"all {points} points"


def _each(points: int) -> str:
    return "the one counted point" if points == 1 else f"each of {points} counted points"


def _vacuous(record: AuditRecord) -> str:
    """At which radius the certificate stops saying anything."""
    empty = []
    for place, row in enumerate(record.summary):
        uppers = at_radius(record, place, "upper")
        amount = sum(value >= VACUOUS for value, _ in uppers)
        if amount:
            empty.append((radius(row.eps), amount, len(uppers)))
    what = f"vacuous (FaithUB of {VACUOUS:g} or more, where 1 is the most possible)"
    if not empty:
        return f"At no examined radius is the certificate {what} at any point."
    (first, some, of), (last, more, of_last) = empty[0], empty[-1]
    said = f"The certificate is {what} at {some} of {count(of, 'point')} at ε = {first}"
    if last != first:
        said += f", the first radius where that happens, and at {more} of {of_last} at ε = {last}"
    mostly = next((eps for eps, amount, total in empty if 2 * amount > total), None)
    if mostly is None:
        return f"{said}. At every radius it says something about most points."
    return f"{said}. From ε = {mostly} on it is vacuous at most points."
