"""`Additive`: a generalised additive model of two classes, its shape functions kept as tables.

logit P(class 1 | x) = f(x) = b_0 + sum_j h_j(x_j),   mean over the data of every h_j zero
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError
from understudy.models.estimators.base import Estimator, check_fit, constant, rounded_down

Kind = Literal["boosted", "linear"]
NEVER = torch.finfo(torch.float32).max  # an edge that no value goes beyond: fills a short row


class Additive(Estimator):
    """h_j(v) = heights[j, number of edges below v] + slopes[j] v.

    Attributes:
        edges: (D, E) increasing; heights: (D, E + 1); slopes: (D,); intercept: (1,).
    """

    def __init__(self, features: int, edges: int) -> None:
        super().__init__()
        self.edges = constant(torch.full((features, edges), NEVER))
        self.heights = constant(torch.zeros(features, edges + 1))
        self.slopes = constant(torch.zeros(features))
        self.intercept = constant(torch.zeros(1))

    @classmethod
    def sized(cls, sizes: tuple[int, ...], shape: tuple[int, ...], classes: int) -> Additive:
        if len(sizes) != 1 or classes != 2:
            raise InputError(
                f"additive[EDGES] tells 2 classes apart, found {list(sizes)} and {classes} classes"
            )
        return cls(int(np.prod(shape)), sizes[0])

    @classmethod
    def fit(
        cls,
        inputs: Float[Tensor, "n ..."],
        targets: Float[Tensor, " n"],
        *,
        logistic: bool,
        kind: Kind = "boosted",
        rounds: int = 100,
        seed: int = 0,
    ) -> Additive:
        """The additive model of scikit-learn: boosted trees without interactions, or a linear model.

        Args:
            targets: logits to come near in squared error; with `logistic`, outcomes 0 or 1, by their likelihood.
            rounds: trees of the boosted kind, each asking about one feature.

        Raises:
            InputError: nothing to fit, values that are not finite, or outcomes that are all one class.
        """
        check_fit(inputs, targets)
        rows, wanted = inputs.flatten(1).double().numpy(), targets.double().numpy()
        if logistic and (len(np.unique(wanted)) != 2 or not np.isin(wanted, (0.0, 1.0)).all()):
            raise InputError(
                f"outcomes must be 0 and 1, both of them, found {np.unique(wanted)[:5].tolist()}"
            )
        found = (
            _linear(rows, wanted, logistic)
            if kind == "linear"
            else _boosted(rows, wanted, logistic, rounds, seed)
        )
        return found.centred(inputs)

    @property
    def spec(self) -> str:
        return f"additive[{self.edges.shape[1]}]"

    def terms(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
        """h_j(x_j) of every row and feature."""
        rows = inputs.flatten(1)
        place = torch.searchsorted(
            self.edges.to(rows.dtype), rows.T.contiguous()
        )  # edges < value, counted: (D, n)
        return self.heights.gather(1, place).T + self.slopes * rows

    def margin(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """f(x): the logit of class 1."""
        return self.intercept + self.terms(inputs).sum(1)

    def forward(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n 2"]:
        margin = self.margin(inputs)
        return torch.stack([torch.zeros_like(margin), margin], 1)

    def centred(self, inputs: Float[Tensor, "n ..."]) -> Additive:
        """The same function, every term with mean zero over these rows."""
        mean = self.terms(inputs.double()).mean(0)
        self.heights.sub_(mean[:, None])
        self.intercept.add_(mean.sum())
        return self


def _linear(rows: np.ndarray, wanted: np.ndarray, logistic: bool) -> Additive:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    model: Any = LogisticRegression(C=1e6, max_iter=5000) if logistic else LinearRegression()
    model.fit(rows, wanted)
    found = Additive(rows.shape[1], 0)
    found.slopes.copy_(torch.from_numpy(np.ravel(model.coef_)))
    found.intercept.copy_(torch.from_numpy(np.ravel(model.intercept_)))
    return found


def _boosted(rows: np.ndarray, wanted: np.ndarray, logistic: bool, rounds: int, seed: int) -> Additive:
    """Boosted trees, read out feature by feature at the values that occur: between them they change half-way."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if logistic else HistGradientBoostingRegressor
    model = kind(
        max_iter=rounds,
        max_leaf_nodes=4,
        interaction_cst="no_interactions",
        early_stopping=False,
        random_state=seed,
    ).fit(rows, wanted)
    ask = model.decision_function if logistic else model.predict
    origin = float(ask(rows[:1])[0])
    shapes: list[tuple[np.ndarray, np.ndarray]] = []
    for column in range(rows.shape[1]):
        values = np.unique(rows[:, column])
        probe = np.repeat(rows[:1], len(values), 0)
        probe[:, column] = values
        height = ask(probe) - origin
        steps = np.flatnonzero(np.abs(np.diff(height)) > 1e-12)
        shapes.append(((values[steps] + values[steps + 1]) / 2, height[np.append(steps, len(values) - 1)]))
    found = Additive(rows.shape[1], max(len(edges) for edges, _ in shapes))
    for column, (edges, height) in enumerate(shapes):
        found.edges[column, : len(edges)] = torch.from_numpy(rounded_down(edges))
        found.heights[column, : len(height)] = torch.from_numpy(height)
    found.intercept.fill_(origin)
    return found
