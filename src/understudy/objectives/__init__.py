"""Divergences, and the objectives made of them: pure functions and thin classes."""

from understudy.objectives.base import Needs, Objective, Sum
from understudy.objectives.cross_entropy import CrossEntropy
from understudy.objectives.partner import Partner, Turn
from understudy.objectives.soft_targets import SoftTargets

__all__ = ["CrossEntropy", "Needs", "Objective", "Partner", "SoftTargets", "Sum", "Turn"]
