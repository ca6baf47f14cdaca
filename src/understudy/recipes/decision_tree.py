"""Distilling a network into a decision tree (Liu, Wang, Matwin, arXiv 1812.10924, 2018).

One regression tree with a vector in every leaf learns what the network says about each class. A path of questions
explains an answer; what is matched is the teacher's distribution and not the class alone.

    targets  y_i = a softmax(z_i / T) + (1 - a) onehot_i,  (K,), z_i the teacher's logits; or their logarithms, or z_i
    tree     split of least  sum over leaves  sum_{i in leaf} || y_i - mean_leaf ||^2;  leaf vector: mean_leaf
    answer   argmax_k of the leaf vector; confidences softmax(T log leaf), the temperature undone (a < 1: leaf itself)

Needs: a teacher that can be asked; labels only for a < 1; scikit-learn grows the tree. No gradients: the audit reports
accuracy, agreement, divergence and calibration, and lists EmpLB and FaithUB as skipped.
Cost: K times that of a plain tree; `copies` noisy copies of the data cost as many answers of the teacher.
Known failure: at T = 1 a confident teacher's targets are nearly labels, and nothing is gained; the gain vanishes or
turns for deep trees, unless copies that the teacher answers are added; questions about pixels hardly explain beyond a
depth of 6. A teacher that knows its training rows by heart has little to say about them.
Reconstructed: the paper's choice of target (only its abstract and introduction were at hand), so all are offered; how
a leaf's vector becomes a confidence; the copies. No code was released.
Measured (examples/decision_tree_kd.py, digits, 1,200 to learn from, a teacher of 64 hidden units with 95.9 %, mean of
5 splits): test accuracy % at depth 4 / 6 / 8 / 10 of the labels' tree 60.0 / 75.6 / 83.8 / 84.5, of T = 1
55.4 / 76.0 / 82.9 / 83.9 (no gain), T = 4 64.8 / 78.7 / 83.8 / 83.0 (a gain for shallow trees only), T = 4 with 5
copies 63.3 / 79.3 / 84.1 / 86.8. At depth 10 KL from the teacher 1.91, .71, .81, .54 nats, in this order. Relative
ECE at T = 4, 3 splits: .12 to .16 with the temperature undone, .33 to .36 without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from understudy.errors import InputError
from understudy.models.estimators.tree import CLIP, Tree, log_clipped
from understudy.numbers import check_number
from understudy.recipes.estimator import EstimatorRecipe, Fitted, Shown

Targets = Literal["probabilities", "log_probabilities", "logits"]


def tree_targets(logits: Float[Tensor, "n k"], kind: Targets, temperature: float) -> Float[Tensor, "n k"]:
    """What the tree is fitted to, in float64: (n, k) probabilities, log-probabilities or logits, none beyond CLIP."""
    if kind == "logits":
        return logits.double().clamp(-CLIP, CLIP)
    softened = logits.double() / temperature
    return softened.softmax(1) if kind == "probabilities" else softened.log_softmax(1).clamp_min(-CLIP)


def leaf_logits(leaves: Float[Tensor, "m k"], kind: Targets, temperature: float) -> Float[Tensor, "m k"]:
    """Leaf vectors as logits at temperature 1, with the same argmax: what `tree_targets` did is undone."""
    if kind == "logits":
        return leaves
    return temperature * (log_clipped(leaves) if kind == "probabilities" else leaves)


def impurity(targets: Float[Tensor, "n k"]) -> float:
    """SSE(I): squared distances to the mean, summed over rows and outputs."""
    return float((targets - targets.mean(0)).square().sum())


@dataclass(frozen=True, kw_only=True)
class DecisionTree(EstimatorRecipe):
    """A tree that stands in for a network.

    Attributes:
        depth: most questions an answer, 0 or more; none grows until nothing is gained.
        targets: "probabilities", "log_probabilities" or "logits".
        temperature: T, above 0; logits take none.
        alpha: a, the teacher's share in the targets; below 1 for probabilities only.
        min_leaf: rows a leaf holds at least.
        copies: noisy copies of the data that the teacher answers too.
        noise: standard deviation of their noise, in the data's units; they stay in the valid range.
    """

    depth: int | None = 6
    targets: Targets = "probabilities"
    temperature: float = 4.0
    alpha: float = 1.0
    min_leaf: int = 1
    copies: int = 0
    noise: float = 0.1

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("noise", self.noise, 0.0)
        for name, least in (("depth", 0), ("min_leaf", 1), ("copies", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be {least} or more, found {value}")
        if self.alpha < 1 and self.targets != "probabilities":
            raise InputError(
                f"labels mix with probabilities only, found alpha {self.alpha:g} and {self.targets}"
            )

    def fit(self, shown: Shown) -> Fitted:
        """The tree, and how large it became."""
        if shown.ask is None:
            raise InputError("decision_tree_kd asks a teacher, and none is given")
        targets = self._targets(shown.ask(shown.inputs))
        if self.alpha < 1:
            if shown.labels is None or bool((shown.labels < 0).any()):
                raise InputError(f"alpha {self.alpha:g} mixes in labels, and not every example has one")
            targets = self.alpha * targets + (1 - self.alpha) * one_hot(shown.labels, shown.classes)
        draw = torch.Generator().manual_seed(shown.seed)
        inputs, wanted = [shown.inputs], [targets]
        for _ in range(self.copies):
            moved = shown.inputs + self.noise * torch.randn(shown.inputs.shape, generator=draw)
            inputs.append(moved.clamp(shown.low, shown.high))
            wanted.append(self._targets(shown.ask(inputs[-1])))
        rows, goals = torch.cat(inputs), torch.cat(wanted)
        tree = Tree.fit(
            rows, goals, depth=self.depth, min_leaf=self.min_leaf, seed=shown.seed,
            answer=lambda leaves: leaf_logits(leaves, self.targets, self.temperature if self.alpha == 1 else 1.0),
        )  # fmt: skip
        ends = tree.leaf(rows)
        left, whole = float((tree.value[ends] - goals).square().sum()), impurity(goals)
        return Fitted(
            tree,
            loss=left / len(rows),
            facts={
                "nodes": len(tree.feature),
                "depth": int(tree.depths().max()),
                "mean_path": float(tree.depths()[ends].double().mean()),
                "explained": 1 - left / whole if whole > 0 else 1.0,
            },
        )

    def _targets(self, logits: Tensor) -> Tensor:
        return tree_targets(logits, self.targets, self.temperature)
