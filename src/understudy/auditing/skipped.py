"""What an audit leaves out because a model has no gradient, and why."""

from __future__ import annotations

from dataclasses import replace

from understudy.auditing.nodes import reads_neighbours
from understudy.auditing.settings import AuditSettings
from understudy.errors import InputError
from understudy.models.ensemble import MeanConfidence, Team
from understudy.models.estimators import without_gradients
from understudy.models.opening import LoadedModel
from understudy.models.two_heads import TwoHeads


def measurable(
    teacher: LoadedModel, student: LoadedModel, settings: AuditSettings
) -> tuple[AuditSettings, dict[str, str]]:
    """The settings as far as the pair allows, and what is skipped: its name -> the reason.

    A pair of networks keeps its settings, without a bound if one answers with a mean of confidences. One with an
    estimator is examined at radius 0 only, by what both models answer there, without attack and bound.

    Raises:
        InputError: certificates are asked for, and there can be none.
    """
    found = {
        who: without_gradients(model.module) for who, model in (("teacher", teacher), ("student", student))
    }
    named = " and ".join(f"the {who} is {spec}" for who, spec in found.items() if spec is not None)
    if graph := reads_neighbours(teacher, student):
        if settings.certificates:
            raise InputError(f"certificates prove bounds on networks of single inputs, and {graph}")
        why = f"a node's answer depends on its neighbours' features too: {graph}"
        found_there = {"EmpLB": f"{why}; only radius 0 is examined", "FaithUB": why}
        return replace(settings, eps=(0.0,), certify="none", time_limit=None), found_there
    if not named:
        return _without_bounds(teacher, student, settings)
    if settings.certificates:
        raise InputError(f"certificates prove bounds on networks, and {named}")
    skipped = {
        "EmpLB": f"the attack climbs gradients, and {named}, which has none: only radius 0 is examined",
        "FaithUB": f"the bounds go through a network layer by layer, and {named}",
    }
    return replace(settings, eps=(0.0,), certify="none", time_limit=None), skipped


def _without_bounds(
    teacher: LoadedModel, student: LoadedModel, settings: AuditSettings
) -> tuple[AuditSettings, dict[str, str]]:
    """A team, or a student with two heads, is attacked as any network; what it says cannot be bounded yet."""
    means = [
        f"the {who} is a {type(part).__name__}"
        for who, model in (("teacher", teacher), ("student", student))
        for part in model.module.modules()
        if isinstance(part, Team | MeanConfidence | TwoHeads)
    ]
    if not means or settings.certify == "none":
        return settings, {}
    if settings.certificates:
        raise InputError(
            f"certificates prove bounds on logits, and {means[0]}, which answers with a mean of confidences"
        )
    why = f"{means[0]}, which answers with a mean of confidences: that cannot be bounded yet"
    return replace(settings, certify="none", time_limit=None), {"FaithUB": why}
