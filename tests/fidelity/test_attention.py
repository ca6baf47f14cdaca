"""The maps' formulas, against loops, closed forms and sums over paths."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from understudy.errors import InputError
from understudy.fidelity.attention import (
    activation_energy,
    attention_rollout,
    class_activation,
    gradient_attention,
    last_attention,
    on_grid,
    summed_class_activation,
)
from understudy.objectives.explanations import grad_cam


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FEATURES, WEIGHT, BIAS = drawn(3, 4, 2, 5), drawn(6, 4, seed=1), drawn(6, seed=2)
CLASSES = torch.tensor([5, 0, 2])


def weights(layers: int, tokens: int, *, seed: int = 0) -> list[torch.Tensor]:
    return list(drawn(layers, 2, 3, tokens, tokens, seed=seed).softmax(-1))


def test_a_class_activation_map_is_its_loop_and_its_mean_the_logit() -> None:
    found = class_activation(FEATURES, WEIGHT, CLASSES, BIAS)
    for b, i, j in itertools.product(range(3), range(2), range(5)):
        y = CLASSES[b]
        by_hand = sum(WEIGHT[y, d] * FEATURES[b, d, i, j] for d in range(4)) + BIAS[y]
        assert found[b, i, j].item() == pytest.approx(by_hand.item(), abs=1e-5)
    logits = F.linear(FEATURES.mean((2, 3)), WEIGHT, BIAS)
    assert torch.allclose(found.mean((1, 2)), logits.gather(1, CLASSES[:, None])[:, 0], atol=1e-6)
    assert torch.allclose(
        class_activation(FEATURES, WEIGHT, CLASSES) + BIAS[CLASSES][:, None, None], found, atol=1e-6
    )


def test_grad_cam_of_a_pooled_head_is_the_positive_part_of_it() -> None:
    features = FEATURES.clone().requires_grad_()
    logits = F.linear(features.mean((2, 3)), WEIGHT, BIAS)
    found = grad_cam(logits, features, CLASSES)
    assert torch.allclose(found, class_activation(FEATURES, WEIGHT, CLASSES).relu() / 10, atol=1e-6)
    with pytest.raises(InputError, match="on the way to the logits"):
        grad_cam(logits, 2 * features, CLASSES)


def test_the_summed_map_is_the_sum_over_classes() -> None:
    total = sum(class_activation(FEATURES, WEIGHT, torch.full((3,), c), BIAS) for c in range(6))
    assert torch.allclose(summed_class_activation(FEATURES, WEIGHT, BIAS), total, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_training_never_moves_what_the_summed_map_sees_without_weight_decay(decay: float) -> None:
    """Cross-entropy and distillation change the head, and leave the sum of its rows where it was drawn."""
    torch.manual_seed(0)
    head, x, y = nn.Linear(4, 6), torch.randn(40, 4), torch.randint(6, (40,))
    taught = torch.randn(40, 6).softmax(1)
    before = head.weight.detach().clone()
    step = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9, weight_decay=decay)
    for _ in range(50):
        step.zero_grad()
        z = head(x)
        (F.cross_entropy(z, y) + F.kl_div(z.log_softmax(1), taught, reduction="batchmean")).backward()
        step.step()
    moved = (head.weight.sum(0) - before.sum(0)).abs().max()
    assert (head.weight - before).abs().max() > 0.1
    assert bool(moved < 1e-5) == (decay == 0)


def test_energy() -> None:
    assert torch.allclose(activation_energy(FEATURES), (FEATURES**2).sum(1) / 4)
    assert torch.allclose(activation_energy(FEATURES, 1), FEATURES.abs().mean(1))
    twice = torch.cat((FEATURES, FEATURES), 1)  # a wider net of the same features
    assert torch.allclose(activation_energy(twice, 3), activation_energy(FEATURES, 3))


def test_rollout_is_the_sum_over_all_paths() -> None:
    blocks, share = weights(3, 4), 0.3
    found = attention_rollout(blocks, residual=share)
    mixed = [(1 - share) * block.mean(1) + share * torch.eye(4) for block in blocks]
    for b, i, j in itertools.product(range(2), range(4), range(4)):
        paths = sum(
            mixed[2][b, i, q] * mixed[1][b, q, p] * mixed[0][b, p, j]
            for p, q in itertools.product(range(4), repeat=2)
        )
        assert found[b, i, j].item() == pytest.approx(float(paths), abs=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(2, 4))
    assert torch.allclose(attention_rollout(blocks[:1], residual=0), last_attention(blocks[:1]))
    assert torch.equal(last_attention(blocks), blocks[2].mean(1))


def test_rollout_of_blocks_that_look_at_themselves_is_the_identity() -> None:
    stay = torch.eye(4).expand(2, 3, 4, 4)
    assert torch.equal(attention_rollout([stay] * 3), torch.eye(4).expand(2, 4, 4))


def test_gradient_attention_is_the_product_written_out() -> None:
    blocks, slopes = weights(3, 4), list(drawn(3, 2, 3, 4, 4, seed=5))
    one, two, three = ((w * s).relu().mean(1) for w, s in zip(blocks, slopes, strict=True))
    by_hand = one + two + three + two @ one + three @ one + three @ two + three @ two @ one
    assert torch.allclose(gradient_attention(blocks, slopes), by_hand, atol=1e-6)
    assert not gradient_attention(blocks, [-slope.abs() for slope in slopes]).any()


def test_the_grid() -> None:
    relevance = drawn(2, 8, 8)
    assert torch.equal(on_grid(relevance, 2, (2, 3)), relevance[:, 0, 2:].view(2, 2, 3))
    assert torch.allclose(on_grid(relevance, 2, (3, 2), "mean"), relevance[:, 2:, 2:].mean(1).view(2, 3, 2))
    assert torch.allclose(on_grid(relevance, 0, (2, 4)), relevance.mean(1).view(2, 2, 4))
    assert on_grid(drawn(2, 10, 10), 1).shape == (2, 3, 3)


@pytest.mark.usefixtures("unchecked")
def test_maps_of_what_is_none() -> None:
    with pytest.raises(InputError, match="4 channels, found weights of shape"):
        class_activation(FEATURES, WEIGHT[:, :3], CLASSES)
    with pytest.raises(InputError, match="6 classes needs as many biases"):
        summed_class_activation(FEATURES, WEIGHT, BIAS[:5])
    with pytest.raises(InputError, match=r"must lie in 0..5, found \[0, 2, 6\]"):
        class_activation(FEATURES, WEIGHT, torch.tensor([6, 0, 2]))
    with pytest.raises(InputError, match="3 examples need integer classes"):
        class_activation(FEATURES, WEIGHT, CLASSES[:2])
    with pytest.raises(InputError, match="must be maps"):
        activation_energy(FEATURES[0])
    for power in (0, -1, float("inf")):
        with pytest.raises(InputError, match="power must be a finite number above 0"):
            activation_energy(FEATURES, power)


@pytest.mark.usefixtures("unchecked")
def test_attention_that_makes_no_map() -> None:
    for make in (attention_rollout, last_attention, lambda w: gradient_attention(w, w)):
        with pytest.raises(InputError, match="one block at least"):
            make([])
        with pytest.raises(InputError, match="same tokens"):
            make([weights(1, 4)[0], weights(1, 3)[0]])
        with pytest.raises(InputError, match="same tokens"):
            make([weights(1, 4)[0][..., :3]])
    with pytest.raises(InputError, match=r"\[0, 1\), found 1"):
        attention_rollout(weights(1, 4), residual=1)
    with pytest.raises(InputError, match="slope of the same shape"):
        gradient_attention(weights(2, 4), weights(1, 4))
    relevance = drawn(2, 8, 8)
    for prefix, grid in ((0, None), (1, (2, 3)), (8, None), (-1, (3, 3))):
        with pytest.raises(InputError, match="8 tokens with"):
            on_grid(relevance, prefix, grid)
    with pytest.raises(InputError, match="first token is a patch"):
        on_grid(relevance, 0, (2, 4), "first")
