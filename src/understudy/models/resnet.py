"""The CIFAR residual network: He, Zhang, Ren and Sun, "Deep residual learning", CVPR 2016, section 4.2.

Three stages of n blocks with w, 2w and 4w channels; depth 6n + 2 (8: n = 1, 20: n = 3, 56: n = 9). Where a
block changes size, the shortcut is a 1x1 convolution with batch norm (the paper's option B); the paper's
CIFAR nets pad with zeros instead (option A), which costs nothing but is an operation that bounds would
have to know. At w = 16 and 10 classes this adds 2,752 parameters to the 269,722 of ResNet-20.
"""

from __future__ import annotations

from typing import no_type_check

from torch import Tensor, nn

from understudy.errors import InputError


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        # Two ReLU modules, not one used twice: a tap or a bound then names one place in the graph.
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    @no_type_check  # torch.fx traces with proxies, which run-time type checks would refuse
    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class ResNet(nn.Module):
    """(B, c, h, w) -> (B, classes). Layers: conv, bn, relu, layer1..layer3, pool, flatten, fc."""

    def __init__(self, shape: tuple[int, int, int], classes: int, depth: int, width: int = 16) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"a CIFAR ResNet's depth is 6n + 2 (8, 14, 20, ...), found {depth}")
        blocks = (depth - 2) // 6
        self.conv = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @no_type_check
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.pool(x)))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
