"""What a student copied, in sentences: its answers, where it looks, its layers, and what that does not prove."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.auditing.copied_record import AttentionRecord, CopiedRecord, LayersRecord, Mean, the
from understudy.report.words import count, interval, number, percent

_CAUTION = (
    "Likeness alone is no proof of copying: two networks that learnt the same data, each by itself, are alike too. An "
    "audit of the teacher against another teacher, trained from a different seed, tells how much."
)


def copied_sentences(record: CopiedRecord) -> list[tuple[str, str]]:
    """(what, the finding), a part that was skipped with its reason, the caution last."""
    said = [("Its answers.", _answers(record)), ("Its confidences.", _confidences(record))]
    for part, name, found in (
        ("attention", "Where it looks.", record.attention and _attention(record.attention)),
        ("layers", "Its layers.", record.layers and _layers(record.layers)),
    ):
        why = record.skipped.get(part, "nothing was found to compare")
        said.append((name, found or f"Not measured: {why}."))
    return [*said, ("What this does not say.", _CAUTION)]


def _answers(record: CopiedRecord) -> str:
    a = record.answers
    said = f"It names the teacher’s class on {shown(a.agreement, True)} of {examples(record)}."
    if a.accuracy_teacher is None:
        why = record.skipped.get("labels")
        return f"{said} Nothing is held against the labels: {why}." if why else said
    wrong = a.agreement_where_wrong
    if wrong is None:
        return f"{said} The teacher is right on all of them."
    same = round(wrong.mean * wrong.count)
    return (
        f"{said} On the {wrong.count} that the teacher gets wrong it makes the same mistake {_times(same)}."
    )


def _times(many: int) -> str:
    return {0: "not once", 1: "once", 2: "twice"}.get(many, f"{many} times")


def _confidences(record: CopiedRecord) -> str:
    moved = record.answers.total_variation
    return (
        f"On average it places {shown(moved, True)} of the probability on other classes than the teacher does "
        "(total variation)."
    )


def _attention(record: AttentionRecord) -> str:
    parts = []
    for pair in record.pairs:
        found = next(one for name, one in pair.measures.items() if name.startswith("iou"))
        if pair.other != "student" or found.same is None:
            continue
        said = f"Of the places where {the(pair.one)} or the student looks, both look at {shown(found.same, True)}"
        if found.undefined:
            said += f" on the {count(found.same.count, 'input')} where neither map is even"
        if found.chance is not None:
            said += f"; on two different inputs, by chance, it would be {shown(found.chance, True)}. "
            said += versus(found.same, found.chance)
        parts.append(said)
    return ". ".join(parts) + "." if parts else ""


ENOUGH = 20  # examples below which an interval by the bootstrap covers less than it says


def versus(same: Mean, chance: Mean) -> str:
    """Whether two intervals lie apart, in words; of fewer than `ENOUGH` examples nothing is said."""
    untold = "Whether they look at the same places more than by chance cannot be told from"
    if (fewest := min(same.count, chance.count)) < ENOUGH:
        return f"{untold} {count(fewest, 'example')}"
    if same.low is None or same.high is None or chance.low is None or chance.high is None:
        return f"{untold} this"
    if same.low > chance.high:
        said = "They look at the same places more than chance would have it"
        return f"{said}, but share less than half of them" if same.high < 0.5 else said
    if same.high < chance.low:
        return "They look at the same places less than chance would have it"
    return f"{untold} this"


def _layers(found: list[LayersRecord]) -> str:
    parts = []
    for one in found:
        best = nearest(one)
        if best:
            least, most = (pick(best, key=lambda pair: pair[0]) for pick in (min, max))
            names = short_names(one.columns, one.column_kinds)
            parts.append(
                f"Each of the {len(best)} compared has a likest layer in {the(one.teacher)}, with a CKA between "
                f"{number(least[0], 2)} ({names[least[1]]}) and {number(most[0], 2)} ({names[most[1]]}), where 1 is "
                f"the same and chance reached {number(one.chance, 2)} at most"
            )
    return ". ".join(parts) + "." if parts else ""


def nearest(one: LayersRecord) -> list[tuple[float, int, int]]:
    """(CKA, column, row) of the teacher's layer that is most like each layer of the student."""
    out = []
    for j in range(len(one.columns)):
        known = [(value, i) for i, row in enumerate(one.values) if (value := row[j]) is not None]
        if known:
            value, i = max(known)
            out.append((value, j, i))
    return out


_LONGEST = 24  # letters of a layer's name


def short_names(names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The layers' names without what all begin with; a mere number with the class of the layer."""
    parts = [name.split(".")[:-1] for name in names]
    same = 0
    while len(names) > 1 and all(len(row) > same and row[same] == parts[0][same] for row in parts):
        same += 1
    out = []
    for name, kind in zip(names, kinds, strict=True):
        short = ".".join(name.split(".")[same:])
        short = f"{short} {kind}" if short.replace(".", "").isdigit() else short
        out.append(short if len(short) <= _LONGEST else f"…{short[1 - _LONGEST :]}")
    return out


def examples(record: CopiedRecord) -> str:
    """How many were looked at."""
    return count(record.examples, "example")


def shown(found: Mean, share: bool = False) -> str:
    """A mean with its interval."""
    value = percent(found.mean) if share else number(found.mean)
    ends = interval((found.low, found.high), share)
    return f"{value} ({ends})" if ends else value
