"""AdaAD: adaptive adversarial distillation (Huang et al., CVPR 2023).

    x' = argmax over B(x) of KL(t(x') || s(x'))                 gradient through both models' input
    a KL(t(x') || s(x')) + (1 - a) KL(t(x) || s(x))             a = 1 by default

At its defaults this is the update of FD with lambda = 0 (`faithful_kd`), found independently in the same year: the
implementation is FD's, without its label term, and a test holds the two to the same gradient. AdaAD's inner-loss
helper and its defaults were read in public copies of the code, its tables were not.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.errors import InputError
from understudy.methods.robust.faithful_kd import FaithfulKD


@dataclass(frozen=True, kw_only=True)
class AdaAD(FaithfulKD):
    """Adaptive adversarial distillation: FD without labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard_weight:
            raise InputError("AdaAD has no label term: use faithful_kd with hard_weight")
