"""The strided convolutional nets usual in verification: no pooling, no batch norm, ReLU only.

"Small" and "large" follow Wong, Schmidt, Metzen and Kolter, "Scaling provable adversarial defenses",
NeurIPS 2018 (arXiv 1805.12514). Both are plain `nn.Sequential`s whose tensors are named by position.
"""

from __future__ import annotations

from torch import nn


def build_cnn(
    shape: tuple[int, int, int], classes: int, first: int = 16, second: int = 32, hidden: int = 100
) -> nn.Sequential:
    """Two 4x4 convolutions of stride 2, one hidden layer: (B, c, h, w) -> (B, classes).

    Each convolution halves the sides (rounding down), so h and w must be 4 or more. Tensors: "0" and "2"
    (convolutions), "5" and "7" (linear).
    """
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def build_cnn_large(
    shape: tuple[int, int, int], classes: int, first: int = 32, second: int = 64, hidden: int = 512
) -> nn.Sequential:
    """3x3 then strided 4x4 convolutions, twice, and two hidden layers: (B, c, h, w) -> (B, classes).

    The sides are halved twice, so h and w must be 4 or more.
    """
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(second, second, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
