"""`Estimator`: what every student without gradients offers beside the module's own face."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError


class Estimator(nn.Module, ABC):
    """Fitted arrays: inputs (B, ...) in the data's range -> logits (B, C). Its answer has no gradient.

    Subclasses have a class method `fit`, which names its own arguments, and hold nothing but tensors.
    """

    @property
    @abstractmethod
    def spec(self) -> str:
        """Kind and sizes, such as "tree[63,5]": with the arrays, all that is needed to build it again."""

    @classmethod
    @abstractmethod
    def sized(cls, sizes: tuple[int, ...], shape: tuple[int, ...], classes: int) -> Estimator:
        """One of these sizes, all zero.

        Raises:
            InputError: sizes that no fit gives.
        """

    @torch.no_grad()
    def predict_proba(self, inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        """Confidences, rows summing to 1."""
        answer: Tensor = self(inputs)
        return answer.softmax(1)


def constant(values: Tensor) -> nn.Parameter:
    """A tensor that is saved and counted with the model's parameters, and never trained."""
    return nn.Parameter(values, requires_grad=False)


def check_fit(inputs: Tensor, targets: Tensor) -> None:
    """Whether rows and targets can be fitted.

    Raises:
        InputError: none, unequal in number, or not finite.
    """
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise InputError(f"a fit needs a target a row, found {len(inputs)} rows and {len(targets)} targets")
    for name, values in (("rows", inputs), ("targets", targets)):
        if not bool(values.isfinite().all()):
            raise InputError(f"a fit needs finite {name}, found NaN or infinity")


def rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 at most each float64: it parts float32 inputs exactly as the float64 does."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
