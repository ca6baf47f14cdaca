"""The branches: their shapes, sizes and beginnings, for maps, tokens and vectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import understudy as us
from understudy.models.vit import Block
from understudy.objectives.branches import make_branch


def count(branch: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in branch.modules())


@pytest.mark.parametrize("later", [0, 1, 3])
@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 5), (16, 8), (17, 8), (10, 6), (1, 3), (12,)])
def test_every_layout_gives_the_classes_an_example_by_itself(shape: tuple[int, ...], later: int) -> None:
    feature = torch.randn(3, *shape)
    branch = make_branch(feature[:2], 5, later).eval()
    whole = branch(feature)
    assert whole.shape == (3, 5)
    torch.testing.assert_close(torch.cat([branch(row[None]) for row in feature]), whole, rtol=1e-4, atol=1e-5)
    assert branch(feature.flip(0))[0].tolist() == pytest.approx(whole[2].tolist(), abs=1e-5)


def test_maps_halve_and_double_to_the_width() -> None:
    """Of 4 x 16 x 16 and three stages to come: 8 x 8 x 8, 16 x 4 x 4, 10 x 2 x 2; counted by hand."""
    branch = make_branch(torch.zeros(2, 4, 16, 16), 5, 3, width=10)
    seen, x = [], torch.zeros(2, 4, 16, 16)
    for layer in branch:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            seen.append(tuple(x.shape[1:]))
    assert seen[1::2] == [(8, 8, 8), (16, 4, 4), (10, 2, 2)]
    expected = 10 * 5 + 5
    for c, out in ((4, 8), (8, 16), (16, 10)):
        expected += 9 * c + c * c + 2 * c + 9 * c + c * out + 2 * out
    assert sum(p.numel() for p in branch.parameters()) == expected


def test_the_last_stages_branch_is_one_convolution() -> None:
    branch = make_branch(torch.zeros(2, 4, 3, 3), 5, 0, width=6)
    assert [type(layer) for layer in branch] == [nn.Conv2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert sum(p.numel() for p in branch.parameters()) == 4 * 6 + 6 + 6 * 5 + 5


@pytest.mark.parametrize(
    ("tokens", "merges", "left", "given"),
    [(28 * 28, 2, 49, None), (16, 0, 16, None), (14 * 14 + 1, 1, 50, None), (9 * 9, 0, 81, None),
     (14 * 14 + 2, 1, 51, 2), (198, 0, 198, None), (16 * 16, 2, 16, None), (145, 0, 145, 0)],
)  # fmt: skip
def test_tokens_are_merged_to_a_small_grid(tokens: int, merges: int, left: int, given: int | None) -> None:
    branch = make_branch(torch.zeros(2, tokens, 8), 5, 2, class_tokens=given)
    assert len(branch.merge) == merges
    assert count(branch, Block) == 2
    seen: list[int] = []
    branch.blocks.register_forward_hook(lambda *given: seen.append(given[2].shape[1]))
    branch(torch.zeros(2, tokens, 8))
    assert seen == [left]


def test_merging_joins_four_neighbours() -> None:
    """Changing one token of a 14 x 14 grid changes one merged token, that of its 2 x 2 square."""
    merge = make_branch(torch.zeros(2, 196, 4), 5, 1).merge
    x = torch.randn(1, 196, 4)
    other = x.clone()
    other[0, 5 * 14 + 8] += 1.0
    changed = (merge(x) - merge(other)).abs().sum(-1)[0].nonzero().flatten().tolist()
    assert changed == [5 // 2 * 7 + 8 // 2]


def test_a_class_token_is_what_is_read() -> None:
    """With no block's attention to mix them, only the first token would count; without one it is the mean."""
    for tokens, alone in ((17, True), (16, False)):
        branch = make_branch(torch.zeros(2, tokens, 4), 5, 1)
        branch.blocks = nn.Sequential()
        x = torch.randn(1, tokens, 4)
        other = x.clone()
        other[0, 1:] = other[0, 1:] + 1.0
        assert torch.equal(branch(x), branch(other)) == alone


def test_it_begins_as_stated() -> None:
    torch.manual_seed(0)
    vectors = make_branch(torch.zeros(2, 400), 300, 1, width=500)
    for layer in (vectors[0], vectors[-1]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not layer.bias.any()
    maps = make_branch(torch.zeros(2, 200, 4, 4), 5, 0, width=300)
    assert maps[0].weight.std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.02)  # fan out 300
    norms = [part for part in make_branch(torch.zeros(2, 4, 8, 8), 5, 1) if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 2
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4, 4), {}, r"maps \(C, H, W\), tokens \(L, D\) or vectors \(D,\); found \(2, 3, 4, 4\)"),
        ((), {}, r"found \(\)"),
        ((4, 8), {"class_tokens": 4}, "below the 4 tokens of the feature, found 4"),
    ],
)
def test_what_no_branch_can_start_at_is_named(
    shape: tuple[int, ...], options: dict[str, int], message: str
) -> None:
    with pytest.raises(us.InputError, match=message):
        make_branch(torch.zeros(2, *shape), 5, 1, **options)
