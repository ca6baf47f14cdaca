"""The generator's shapes and range, what its memory keeps, and the distance of batch statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.models.generator import Generator, Replay, batch_statistics
from understudy.testing import tiny_conv


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 6, 5), (1, 1, 3), (7,), (4, 9)])
def test_examples_have_the_shape_and_lie_between_0_and_1(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = Generator(shape, 5, 4)
    made = net(torch.randn(3, 5))
    assert made.shape == (3, *shape)
    assert ((made > 0) & (made < 1)).all()
    assert net(torch.randn(1, 5)).isfinite().all()
    made.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_it_has_no_statistics_of_its_own() -> None:
    net, noise = Generator((1, 8, 8), 5, 4), torch.randn(6, 5)
    assert not list(net.buffers())
    torch.testing.assert_close(net.eval()(noise), net.train()(noise))


def test_the_oldest_goes_first() -> None:
    own = Replay(Generator((2,), 3, 4), 4, (2,))
    assert own.recall(torch.zeros(3)) is None
    rows = torch.arange(7.0)[:, None].expand(7, 2)
    own.keep(rows[:3])
    found = own.recall(torch.linspace(0, 0.999, 12))
    assert found is not None
    assert found[:, 0].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
    own.keep(rows[3:6])
    assert sorted(own.kept[:, 0].tolist()) == [2.0, 3.0, 4.0, 5.0]
    own.keep(rows)  # more than it can hold
    assert sorted(own.kept[:, 0].tolist()) == [3.0, 4.0, 5.0, 6.0]
    copy = Replay(Generator((2,), 3, 4), 4, (2,))
    copy.load_state_dict(own.state_dict())
    assert torch.equal(copy.kept, own.kept)


def test_batch_statistics_are_zero_where_the_teacher_knows_them() -> None:
    net = tiny_conv(seed=1).eval()
    inputs = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = net.conv(inputs)
    norm = net.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = before.mean((0, 2, 3)), before.var((0, 2, 3), unbiased=False)
    expected = (mean - norm.running_mean).square().sum() + (var - norm.running_var).square().sum()
    with batch_statistics(net) as found:
        net(inputs)
    torch.testing.assert_close(torch.stack(found), expected[None])
    assert torch.autograd.grad(found[0], inputs)[0].any()
    norm.running_mean.copy_(mean.detach())
    norm.running_var.copy_(var.detach())
    with batch_statistics(net) as found:
        net(inputs)
    assert found[0].abs() < 1e-10
    with pytest.raises(ZeroDivisionError), batch_statistics(net):
        _ = 1 / 0
    assert not any(part._forward_pre_hooks for part in net.modules())
