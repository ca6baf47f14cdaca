"""The questions that can be asked of a pair's product network: in words, and as a disjunction over its outputs."""

from __future__ import annotations

import math
from typing import Literal, get_args

from understudy.models.export_query import Form, ordered_pairs
from understudy.models.vnnlib import Atom, Cases, literal

Sign = Literal["+", "-"]
WIDEN = (
    1e-12  # by which a threshold on logits is lowered, so that rounding its logarithm drops no counterexample
)

ASKED = {
    "softmax": "is there an input of the box with |p_teacher - p_student| >= {threshold:g} in a class?",
    "margins": "is there an input of the box that satisfies the linear conditions on logits without which "
    "|p_teacher - p_student| >= {threshold:g} is impossible?",
    "top1": "is there an input of the box to which the two networks give different classes (or a tie)?",
}
SAT = {
    "softmax": "the input found is a counterexample: the confidences differ by {threshold:g} or more there",
    "margins": "nothing: the conditions are necessary, not sufficient; evaluate both networks at the input found",
    "top1": "the input found is a counterexample: the classes differ, or two classes tie",
}
UNSAT = {
    "softmax": "the confidences differ by less than {threshold:g} on the whole box, in the classes and signs asked for",
    "margins": "the confidences differ by less than {threshold:g} on the whole box, in the classes and signs asked for",
    "top1": "both networks give one and the same class at every input of the box at which the teacher gives one of "
    "the classes asked for",
}


def cases(
    form: Form,
    classes: int,
    threshold: float | None,
    chosen: int | None = None,
    sign: Sign | None = None,
    only: int | None = None,
) -> Cases:
    """The disjunction that is asked for. `only`: the class whose pairs alone are outputs of the form "margins".

    The margins' conditions: p^T_k - p^S_k >= C implies p^T_k >= C, so that every z^T_k - z^T_i >= ln(C / (1 - C));
    and the log-odds t, s have t - s >= 4 artanh(C), where t - s <= max_j (z^T_k - z^T_j) - (z^S_k - z^S_j).
    """
    asked = [k for k in range(classes) if chosen in (None, k)]
    signs = [s for s in get_args(Sign) if sign in (None, s)]
    if form == "top1":
        return [
            [Atom(k, f"Y_{i}") for i in range(classes) if i != k] + [Atom(classes + j, f"Y_{classes + k}")]
            for k, j in ordered_pairs(classes, chosen)
        ]
    assert threshold is not None
    if form == "softmax":
        return [[_beyond(k, threshold, s)] for k in asked for s in signs]
    pairs = ordered_pairs(classes, only)
    place = {pair: i for i, pair in enumerate(pairs)}
    odds = literal(_lowered(math.log(threshold / (1 - threshold))), up=False)
    apart = _lowered(4 * math.atanh(threshold))
    found = []
    for k, j in ordered_pairs(classes, chosen):
        for s in signs:
            raised = 0 if s == "+" else len(pairs)
            certain = [Atom(raised + place[k, i], odds) for i in range(classes) if i != k]
            found.append([*certain, _beyond(2 * len(pairs) + place[k, j], apart, s)])
    return found


def _beyond(output: int, size: float, sign: Sign) -> Atom:
    """The output is at least `size`, or with "-" at most minus that; rounded so that no counterexample is lost."""
    if sign == "+":
        return Atom(output, literal(size, up=False))
    return Atom(output, literal(-size, up=True), at_least=False)


def _lowered(value: float) -> float:
    return value - WIDEN * max(1.0, abs(value))
