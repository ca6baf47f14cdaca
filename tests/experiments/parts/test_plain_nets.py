"""Networks whose shortcuts are taken out: the same weights, and their blocks' own output alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.experiments.parts.plain_nets import (
    DenseBlock,
    Family,
    NoShortcut,
    depth_chart,
    make_net,
    without_shortcuts,
)
from understudy.models.resnet import Block

FAMILIES: tuple[Family, ...] = ("perceptron", "resnet")


def made(family: Family, shortcuts: bool, depth: int = 14) -> nn.Module:
    return make_net(family, (1, 8, 8), 10, depth, 4, 3, shortcuts=shortcuts).eval()


def inputs() -> Tensor:
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_shortcuts_are_gone(family: Family) -> None:
    with_them, without = made(family, True), made(family, False)
    kept = without.state_dict()
    lost = with_them.state_dict().keys() - kept.keys()
    assert all("shortcut" in name for name in lost)
    assert bool(lost) is (family == "resnet")  # its projections have weights
    for name, value in kept.items():
        assert torch.equal(value, with_them.state_dict()[name])
    assert with_them(inputs()).shape == without(inputs()).shape == (5, 10)
    assert not torch.allclose(with_them(inputs()), without(inputs()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shortcut_that_is_worth_nothing_is_none(family: Family) -> None:
    """With every shortcut's output times 0, the residual network is the plain one."""
    net = made(family, True)
    for part in net.modules():
        if isinstance(part, Block | DenseBlock):
            part.shortcut.register_forward_hook(lambda _part, _inputs, output: 0 * output)
    torch.testing.assert_close(net(inputs()), made(family, False)(inputs()))


@pytest.mark.parametrize("family", FAMILIES)
def test_depth_and_seed(family: Family) -> None:
    for depth in (8, 20):
        weighed = [p for p in made(family, False, depth).modules() if isinstance(p, nn.Linear | nn.Conv2d)]
        assert len(weighed) == depth
    other = make_net(family, (1, 8, 8), 10, 14, 4, 4, shortcuts=True).eval()
    assert torch.equal(made(family, True)(inputs()), made(family, True)(inputs()))
    assert not torch.equal(other(inputs()), made(family, True)(inputs()))


def test_a_block_without_its_shortcut() -> None:
    block = DenseBlock(4).eval()
    x = torch.rand(6, 4)
    own = block.bn2(block.linear2(block.relu1(block.bn1(block.linear1(x)))))
    torch.testing.assert_close(block(x), (own + x).relu())
    assert isinstance(without_shortcuts(block).shortcut, NoShortcut)
    torch.testing.assert_close(block(x), own.relu())


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="family"):
        make_net("transformer", (1, 8, 8), 10, 8, 4, 0, shortcuts=True)
    for depth in (2, 9):
        with pytest.raises(InputError, match="6n"):
            make_net("perceptron", (1, 8, 8), 10, depth, 4, 0, shortcuts=True)
    with pytest.raises(InputError, match="takes images"):
        make_net("resnet", (64,), 10, 8, 4, 0, shortcuts=True)


def test_the_figure() -> None:
    drawn = depth_chart(
        {
            "residual": [(8, 0.9, 0.88, 0.92), (14, 0.9, None, None)],
            "plain": [(8, 0.8, 0.7, 1.1), (14, 0.4, 0.3, 0.5)],
        }
    )
    assert drawn.count("<svg") == 1
    assert "residual 90.0% to 90.0%; plain 80.0% to 40.0%" in drawn
