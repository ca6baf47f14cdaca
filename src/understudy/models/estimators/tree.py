"""`Tree`: one regression tree with vector leaves, grown by scikit-learn and kept as arrays.

gain(node) = SSE(I) - SSE(I_left) - SSE(I_right),   SSE(I) = sum_{i in I} || y_i - mean_I y ||^2   over K outputs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.models.estimators.base import Estimator, check_fit, constant, rounded_down

CLIP = 12.0  # a log-probability below -CLIP is put there: a leaf may have seen none of a class
Step = tuple[int, float, bool]


def log_clipped(leaves: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """Leaf vectors that are probabilities, as logits: log p, never below -CLIP."""
    return leaves.clamp_min(np.exp(-CLIP)).log()


class Tree(Estimator):
    """A binary tree: at node m an input goes left if its value number `feature[m]` is at most `threshold[m]`.

    Attributes:
        feature, left, right: (M,) int64; a leaf is its own child. Children come after their parents.
        threshold: (M,).
        value: (M, K) mean of the targets that reached the node.
        logits: (M, C) what is answered there.
    """

    feature: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, nodes: int, levels: int, outputs: int) -> None:
        super().__init__()
        self.levels = levels  # most questions an answer
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.int64))
        self.threshold = constant(torch.zeros(nodes))
        self.value = constant(torch.zeros(nodes, outputs))
        self.logits = constant(torch.zeros(nodes, outputs))

    @classmethod
    def sized(cls, sizes: tuple[int, ...], shape: tuple[int, ...], classes: int) -> Tree:
        if len(sizes) != 2 or sizes[0] % 2 == 0 or sizes[1] > sizes[0] // 2:
            raise InputError(
                f"tree[NODES,DEPTH] has an odd number of nodes, 2 a question, found {list(sizes)}"
            )
        return cls(*sizes, classes)

    @classmethod
    def fit(
        cls,
        inputs: Float[Tensor, "n ..."],
        targets: Float[Tensor, "n k"],
        *,
        depth: int | None = None,
        min_leaf: int = 1,
        seed: int = 0,
        answer: Callable[[Tensor], Tensor] = log_clipped,
    ) -> Tree:
        """The tree that greedy CART grows.

        Args:
            depth: at most so many questions; 0 answers the mean target, None goes on until nothing is gained.
            min_leaf: rows a leaf holds at least.
            seed: of the order in which features are tried, which settles ties.
            answer: (M, K) leaf vectors -> (M, K) logits.

        Raises:
            InputError: nothing to fit, or values that are not finite.
        """
        from sklearn.tree import DecisionTreeRegressor

        check_fit(inputs, targets)
        rows, wanted = inputs.flatten(1).float().numpy(), targets.double().numpy()
        if depth == 0:
            rows, depth = np.zeros_like(rows), 1  # no feature to ask about
        grown = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=min_leaf, random_state=seed)
        arrays = grown.fit(rows, wanted).tree_
        tree = cls(arrays.node_count, arrays.max_depth, wanted.shape[1])
        leaf = arrays.children_left < 0
        own = np.arange(arrays.node_count)
        tree.feature.copy_(torch.from_numpy(np.where(leaf, 0, arrays.feature)))
        tree.left.copy_(torch.from_numpy(np.where(leaf, own, arrays.children_left)))
        tree.right.copy_(torch.from_numpy(np.where(leaf, own, arrays.children_right)))
        tree.threshold.copy_(torch.from_numpy(rounded_down(np.where(leaf, 0.0, arrays.threshold))))
        leaves = torch.from_numpy(arrays.value.reshape(arrays.node_count, -1))
        tree.value.copy_(leaves)
        tree.logits.copy_(answer(leaves))
        return tree

    @property
    def spec(self) -> str:
        return f"tree[{len(self.feature)},{self.levels}]"

    def forward(self, inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        return self.logits[self.leaf(inputs)]

    def leaf(self, inputs: Float[Tensor, "b ..."]) -> Int[Tensor, " b"]:
        """The node in which each input ends."""
        rows = inputs.flatten(1)
        node = torch.zeros_like(rows[:, 0], dtype=torch.int64)
        for _ in range(self.levels):
            asked = rows.gather(1, self.feature[node][:, None])[:, 0]
            node = torch.where(asked <= self.threshold[node], self.left[node], self.right[node])
        return node

    def path(self, one: Float[Tensor, " *shape"]) -> list[Step]:
        """What one input is asked: (feature, threshold, whether its value is at most that), from the root down."""
        value, node, asked = one.flatten(), 0, list[Step]()
        while int(self.left[node]) != node:
            feature, threshold = int(self.feature[node]), float(self.threshold[node])
            below = bool(value[feature] <= threshold)
            asked.append((feature, threshold, below))
            node = int((self.left if below else self.right)[node])
        return asked

    def depths(self) -> Int[Tensor, " m"]:
        """How many questions lead to each node."""
        found = [0] * len(self.feature)
        for node, children in enumerate(zip(self.left.tolist(), self.right.tolist(), strict=True)):
            for child in {*children} - {node}:
                found[child] = found[node] + 1
        return torch.tensor(found)


def in_words(path: Sequence[Step], names: Sequence[str]) -> str:
    """A path with the features' names: "age <= 0.12, priors > 0.4"."""
    said = [
        f"{names[feature]} {'<=' if below else '>'} {threshold:.4g}" for feature, threshold, below in path
    ]
    return ", ".join(said) or "nothing is asked"
