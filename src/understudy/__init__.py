"""understudy: students that are trained from a teacher, and proved to stand in for it.

    import understudy as us
    run = us.distill(teacher, "mlp[64,32]", "digits", method="fd", out="runs/fd")
    report = us.audit(teacher, run.folder, "digits", eps=[0.05, 0.1], out="runs/fd-audit")

Names are loaded when they are first used: importing the package imports neither torch nor anything else heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from understudy.version import __version__

if TYPE_CHECKING:
    from understudy import testing
    from understudy.api import (
        Audit,
        Comparison,
        ExportedQuery,
        FidelityReport,
        Run,
        Smoothing,
        audit,
        certify,
        compare,
        distill,
        experiment,
        export_query,
        load,
        measure_fidelity,
        smooth,
        train,
    )
    from understudy.attacks import Ascent, Ball
    from understudy.data import Batch, DataSet, load_data
    from understudy.errors import GateFailed, InputError, SoundnessError, UnderstudyError
    from understudy.models.outputs import Outputs
    from understudy.objectives import CrossEntropy, Needs, Objective, Partner, SoftTargets, Turn
    from understudy.sources import Attacked, Augmented, Source
    from understudy.training.method import AdversarialMethod, Method

_HOME = {
    "understudy.api": (
        "Audit", "Comparison", "ExportedQuery", "FidelityReport", "Run", "Smoothing", "audit", "certify", "compare",
        "distill", "experiment", "export_query", "load", "measure_fidelity", "smooth", "train",
    ),
    "understudy.attacks": ("Ascent", "Ball"),
    "understudy.data": ("Batch", "DataSet", "load_data"),
    "understudy.errors": ("GateFailed", "InputError", "SoundnessError", "UnderstudyError"),
    "understudy.models.outputs": ("Outputs",),
    "understudy.objectives": ("CrossEntropy", "Needs", "Objective", "Partner", "SoftTargets", "Turn"),
    "understudy.sources": ("Attacked", "Augmented", "Source"),
    "understudy.training.method": ("AdversarialMethod", "Method"),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AdversarialMethod", "Ascent", "Attacked", "Audit", "Augmented", "Ball", "Batch", "Comparison", "CrossEntropy",
    "DataSet", "ExportedQuery", "FidelityReport", "GateFailed", "InputError", "Method", "Needs", "Objective",
    "Outputs", "Partner", "Run", "Smoothing", "SoftTargets", "SoundnessError", "Source", "Turn", "UnderstudyError",
    "__version__", "audit", "certify", "compare", "distill", "experiment", "export_query", "load", "load_data",
    "measure_fidelity", "smooth", "testing", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "testing":
        return importlib.import_module("understudy.testing")
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
