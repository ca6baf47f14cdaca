"""Students without gradients: `tree` and `additive`, each a module of saved arrays that answers with logits.

They are opened as any model is. A spec's numbers are the sizes of the arrays, "tree[63,5]" 63 nodes and 5 questions
an answer at most: what is fitted decides them, so nobody asks for such a model by `--model`; a recipe fits it.
"""

from __future__ import annotations

import re

from torch import nn

from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.estimators.additive import Additive
from understudy.models.estimators.base import Estimator
from understudy.models.estimators.tree import Tree

ESTIMATORS: dict[str, type[Estimator]] = {"tree": Tree, "additive": Additive}
_SPEC = re.compile(rf"({'|'.join(ESTIMATORS)})\[(\d+(?:,\d+)*)\]")


def is_estimator(spec: str) -> bool:
    """Whether a spec names fitted arrays: "tree[63,5]"."""
    return _SPEC.fullmatch(spec) is not None


def build_estimator(config: ModelConfig) -> Estimator:
    """The arrays of a configuration, all zero, for `load_state` to fill.

    Raises:
        InputError: no estimator's spec, or numbers in it that no fit gives.
    """
    match = _SPEC.fullmatch(config.spec)
    if match is None:
        raise InputError(f"{config.spec!r} names no estimator: expected one such as 'tree[63,5]'")
    sizes = tuple(int(number) for number in match[2].split(","))
    return ESTIMATORS[match[1]].sized(sizes, config.shape, config.classes)


def without_gradients(module: nn.Module) -> str | None:
    """The spec of the estimator in a module, or None for networks."""
    for part in module.modules():
        if isinstance(part, Estimator):
            return part.spec
    return None


__all__ = [
    "ESTIMATORS",
    "Additive",
    "Estimator",
    "Tree",
    "build_estimator",
    "is_estimator",
    "without_gradients",
]
