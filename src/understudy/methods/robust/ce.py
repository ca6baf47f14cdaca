"""CE: the undistilled student, trained on the labels alone. The baseline of every comparison.

What is minimised, an example:

    CE(s(x), y)                                                 s: (B, C) logits, y: (B,)
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.objectives.cross_entropy import CrossEntropy
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class CE(CrossEntropy, Method):
    """Plain supervised training: the objective `CrossEntropy` as a method."""
