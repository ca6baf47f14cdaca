"""Distill-and-Compare: what a black box makes of each feature (Tan, Caruana, Hooker, Lou, arXiv 1710.06169, AIES 2018).

A transparent student learns the black box's scores from a table; a model of the same class learns the true outcomes.
Where their terms differ, the black box weighs a feature otherwise than the outcome does; where their errors go
together, it has seen something that the table has not.

    student    S'_i ~ f_S(x_i) = b_0 + sum_j h_S,j(x_ij), squared error;  S' = g(S), g monotone, to logits of O
    outcome    logit P(O = 1 | x) = f_O(x), of the same class
    compare    d_j(v) = c (h_S,j(v) - mean) - (h_O,j(v) - mean),  c = sd f_O / sd f_S; bags: mean +- 1.96 sd
    missing    T = corr(S' - f_S, O - sigmoid(f_O)) on held-out rows, against O's residuals permuted, one-sided

The score is the teacher's logit z_1 - z_0 (kept as it is), or without a teacher the table's own recorded score.
Needs: two classes, labels (the outcomes); a teacher that can be asked or a table with scores. No gradients: the audit
lists EmpLB and FaithUB as skipped. report.json holds rates, fidelity, terms and the test.
Cost: 2 fits a bag and 3 a fold, each about .1 s for 5,000 rows.
Known failure: differences describe, and depend on the scale chosen; correlated features share their effect between
them as they like; outcomes are measurements with a bias of their own; without fidelity (see it first) nothing follows.
T is above 0 too where the box uses the table's features in a way that the student's class cannot: a network of all of
compas' features, audited by the boosted class, had T = .067, p = .001.
Reconstructed: the paper's missing-feature test, from its idea; its additive models (boosted and bagged shape
functions, with pairs) are scikit-learn's boosted trees without interactions, so pairs are left out; its smoothing
spline is the discrete one. Held out means out of fold.
Measured (examples/distill_and_compare.py, 3 seeds): a made-up score of two features, audited with both: T .007, .001,
-.020 (p .35 and more), with one of them: .42, .41, .39 (p .001). COMPAS deciles: rate of arrests .222 at decile 1 to
.785 at 10; linear R2 .45 and T .13 (permuted sd .015, p .001), boosted R2 .49 and T .11, so features are missing (T
was .10 to .17 in 8 other splits); the score takes the outcome's log-loss from .603 to .595 (linear). Weights of score
and outcome: African-American .16 and -.01, male -.01 and .13, priors .57 and .71, each with intervals apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from understudy.errors import InputError, unknown
from understudy.models.estimators.additive import Additive, Kind
from understudy.recipes.black_box import Scored, compare_terms, held_out
from understudy.recipes.estimator import EstimatorRecipe, Fitted, Shown
from understudy.recipes.score_scale import rates_by_score, score_scale
from understudy.recipes.term_comparison import Scale


@dataclass(frozen=True, kw_only=True)
class DistillAndCompare(EstimatorRecipe):
    """A transparent student of a black box, held against a model of the outcomes.

    Attributes:
        kind: "boosted" (shape functions by boosting) or "linear".
        rounds: trees of a boosted model.
        bags: resamples for the intervals, 2 or more.
        folds: for held-out residuals, 2 or more.
        permutations: of the missing-feature test.
        scale: what is matched: "sd_predictions", "sd_targets", "range_predictions" or "range_targets".
        features: names of the columns that the models may see, separated by commas; empty is all.
    """

    needs_teacher: ClassVar[bool] = False

    kind: Kind = "boosted"
    rounds: int = 100
    bags: int = 20
    folds: int = 5
    permutations: int = 1000
    scale: Scale = "sd_predictions"
    features: str = ""

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("bags", 2), ("folds", 2), ("permutations", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be {least} or more, found {getattr(self, name)}")

    def fit(self, shown: Shown) -> Fitted:
        """The student of the score; its report is the comparison."""
        if shown.classes != 2 or shown.labels is None or bool((shown.labels < 0).any()):
            labels = (
                "every label"
                if shown.labels is not None and bool((shown.labels >= 0).all())
                else "labels missing"
            )
            raise InputError(
                f"distill_and_compare needs an outcome 0 or 1 a row, found {shown.classes} classes and {labels}"
            )
        table = Scored(self._columns(shown), _scores(shown), shown.labels.double(), shown.names)
        calibrate = score_scale if shown.ask is None else _as_it_is
        target = calibrate(table.scores, table.outcome)(table.scores).double()
        student = self._model(table.rows, target, False, shown.seed)
        fidelity, missing = held_out(
            table, self._model, calibrate, folds=self.folds, permutations=self.permutations, seed=shown.seed
        )
        factor, terms = compare_terms(
            table, target, self._model, bags=self.bags, spread=self.scale, seed=shown.seed
        )
        names = ("values", "counts", "rates")
        rates = dict(
            zip(names, (part.tolist() for part in rates_by_score(table.scores, table.outcome)), strict=True)
        )
        report = {
            "score": "recorded" if shown.ask is None else "the teacher's logit",
            "rates": rates,
            "scale": {"by": self.scale, "factor": factor},
            "fidelity": fidelity,
            "missing_features": missing,
            "terms": terms,
        }
        loss = float((student.margin(table.rows).double() - target).square().mean())
        facts = {**fidelity, "missing_correlation": missing["correlation"], "missing_p": missing["p"]}
        return Fitted(student, loss, facts, report)

    def _model(self, rows: Tensor, targets: Tensor, logistic: bool, seed: int) -> Additive:
        return Additive.fit(rows, targets, logistic=logistic, kind=self.kind, rounds=self.rounds, seed=seed)

    def _columns(self, shown: Shown) -> Tensor:
        """Rows (N, D), zero in the columns that may not be seen."""
        rows = shown.inputs.flatten(1)
        wanted = [name.strip() for name in self.features.split(",")] if self.features.strip() else shown.names
        for name in wanted:
            if name not in shown.names:
                raise unknown("feature", name, shown.names)
        return rows * torch.tensor([float(name in wanted) for name in shown.names])


def _scores(shown: Shown) -> Tensor:
    """The teacher's logit of class 1, or what the table recorded."""
    if shown.ask is not None:
        logits = shown.ask(shown.inputs).double()
        return logits[:, 1] - logits[:, 0]
    if shown.scores is None:
        raise InputError(
            "distill_and_compare needs a teacher, or a table with recorded scores (compas has them)"
        )
    return shown.scores.double()


def _as_it_is(scores: Tensor, outcome: Tensor) -> Callable[[Tensor], Tensor]:
    """A logit needs no map."""
    return lambda found: found
