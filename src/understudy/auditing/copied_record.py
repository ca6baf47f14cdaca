"""What a student copied, typed: the part `copied` of audit.json. Answers, where both look, and their layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from understudy.fidelity.calibration import Bin
from understudy.fidelity.tempered import AtTemperature


@dataclass(frozen=True)
class Mean:
    """A mean over `count` examples and its interval [low, high] at 95 %; without ends where one value tells none."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class AnswersRecord:
    """How alike the answers are, at temperature 1 unless stated.

    `kl`: KL(teacher || student), nats. `total_variation`, `jensen_shannon` (a distance): in [0, 1] and
    [0, sqrt(ln 2)]. `agreement_where_right`, `agreement_where_wrong`: agreement where the teacher is right, and where
    it is wrong (the student makes the same mistake); null without such examples. `by_confidence`: agreement by the
    teacher's confidence. What needs labels is null, or empty, without.
    """

    agreement: Mean
    kl: Mean
    total_variation: Mean
    jensen_shannon: Mean
    accuracy_teacher: Mean | None
    accuracy_student: Mean | None
    agreement_where_right: Mean | None
    agreement_where_wrong: Mean | None
    by_confidence: list[Bin]
    reliability_teacher: list[Bin]
    reliability_student: list[Bin]
    temperatures: list[AtTemperature]


@dataclass(frozen=True)
class Likeness:
    """One measure of two models' maps: of the same input, and by chance, of different inputs.

    Null where no example has a value; `undefined` counts those without one: a map of either model that is the same
    everywhere points nowhere.
    """

    same: Mean | None
    chance: Mean | None
    undefined: int


@dataclass(frozen=True)
class MapPairRecord:
    """Two models' maps: `measures` by name: "iou@0.4" in [0, 1], "spearman" in [-1, 1], "kl" (of `one` || `other`)."""

    one: str
    other: str
    measures: dict[str, Likeness]


@dataclass(frozen=True)
class LookedAt:
    """An input whose maps are shown: its row in the split, its label, what each model says, how far maps overlap.

    `overlaps`: of each teacher's map with the student's, in the teachers' order; null where one is the same everywhere.
    """

    index: int
    label: int | None
    classes: list[int]
    overlaps: list[float | None]


@dataclass(frozen=True)
class AttentionRecord:
    """Maps of where each model looks; the teachers first, the student last.

    `models`: their names; `maps`: what each one's map is, in words; `size`: (h, w) at which maps were compared;
    `enlarged`: those that were smaller; `examples`: how many were compared; `shown`: some of them, whose maps are in
    maps.safetensors, in the same order.
    """

    models: list[str]
    maps: list[str]
    size: list[int]
    enlarged: list[str]
    threshold: float
    examples: int
    pairs: list[MapPairRecord]
    shown: list[LookedAt]


@dataclass(frozen=True)
class LayersRecord:
    """Unbiased linear CKA of a teacher's layers (rows) with the student's (columns), in [-1, 1].

    `row_kinds`, `column_kinds`: the classes of the layers.
    `values`, `p_values`: null where a layer says the same of all examples. `p_values`: how often the examples in a
    random order do as well, from `permutations` orders; `chance`: the largest that any pair of layers reached so.
    """

    teacher: str
    rows: list[str]
    columns: list[str]
    row_kinds: list[str]
    column_kinds: list[str]
    values: list[list[float | None]]
    p_values: list[list[float | None]]
    permutations: int
    chance: float
    examples: int


@dataclass(frozen=True)
class CopiedRecord:
    """What the student copied, on `examples` rows of the split from `start` on, as they are.

    `skipped`: "attention" or "layers" -> why the pair does not allow it; "labels" -> why none were used though there
    are some. `left_out`: rows of that range that are not among the examples, as a model's logits are not finite there.
    """

    start: int
    examples: int
    answers: AnswersRecord
    attention: AttentionRecord | None
    layers: list[LayersRecord]
    seconds: float
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)


def the(model: str) -> str:
    """ "the teacher", "teacher 2", "the student": a model's name in a sentence."""
    return model if model[-1:].isdigit() else f"the {model}"


def copied_from_json(content: dict[str, Any]) -> CopiedRecord:
    """The record in audit.json's `copied`; KeyError or TypeError if it is none."""
    attention = content["attention"]
    return CopiedRecord(
        **{
            **content,
            "answers": _answers(content["answers"]),
            "attention": None if attention is None else _attention(attention),
            "layers": [LayersRecord(**one) for one in content["layers"]],
        }
    )


def _mean(content: dict[str, Any] | None) -> Mean | None:
    return None if content is None else Mean(**content)


_BINS = ("by_confidence", "reliability_teacher", "reliability_student")


def _answers(content: dict[str, Any]) -> AnswersRecord:
    lists: dict[str, Any] = {name: [Bin(**one) for one in content[name]] for name in _BINS}
    lists["temperatures"] = [AtTemperature(**one) for one in content["temperatures"]]
    means: dict[str, Any] = {name: _mean(value) for name, value in content.items() if name not in lists}
    return AnswersRecord(**means, **lists)


def _attention(content: dict[str, Any]) -> AttentionRecord:
    pairs = [
        MapPairRecord(
            **{
                **pair,
                "measures": {
                    name: Likeness(_mean(one["same"]), _mean(one["chance"]), one["undefined"])
                    for name, one in pair["measures"].items()
                },
            }
        )
        for pair in content["pairs"]
    ]
    return AttentionRecord(
        **{**content, "pairs": pairs, "shown": [LookedAt(**one) for one in content["shown"]]}
    )
