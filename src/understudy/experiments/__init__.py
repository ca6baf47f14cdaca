"""A paper's claim rerun at small scale, one file each, named after the paper.

An experiment trains and therefore knows the catalogue: the package comes after `jobs`, which it calls, and before
`api` and `cli`, which call it. An experiment is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from understudy.errors import unknown

if TYPE_CHECKING:
    from understudy.experiments.base import Experiment

EXPERIMENTS = {
    "attention_and_fidelity": "understudy.experiments.attention_and_fidelity:AttentionAndFidelity",
    "does_kd_really_work": "understudy.experiments.does_kd_really_work:DoesKdReallyWork",
    "generalization_vs_fidelity": "understudy.experiments.generalization_vs_fidelity:GeneralizationVsFidelity",
    "teacher_hacking": "understudy.experiments.teacher_hacking:TeacherHacking",
    "understanding_kd": "understudy.experiments.understanding_kd:UnderstandingKd",
    "residual_demystification": "understudy.experiments.residual_demystification:ResidualDemystification",
    "faithful_kd": "understudy.experiments.faithful_kd:FaithfulKD",
}


def experiment_of(name: str) -> type[Experiment[Any, Any]]:
    """The class of the experiment called `name`; InputError for one that is not there."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    module, _, kind = EXPERIMENTS[name].partition(":")
    found: type[Experiment[Any, Any]] = getattr(importlib.import_module(module), kind)
    return found


__all__ = ["EXPERIMENTS", "experiment_of"]
