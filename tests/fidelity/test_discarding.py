"""Maps of discarded entropy: the linear closed form, a region that is not used, scale, and what must not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.fidelity.discarding import ENTROPY_OF_ONE, discarded_entropy, information_map
from understudy.testing import tiny_conv

IMAGES = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def weights_by_cell(seed: int = 1) -> Tensor:
    """(9, 36) weights: a unit a cell of the 3 x 3 grid, of very different sizes."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.exp(torch.randn(9, generator=draw))
    cell = (torch.arange(6) * 3 // 6)[:, None] * 3 + torch.arange(6) * 3 // 6
    return torch.nn.functional.one_hot(cell.flatten(), 9).T * sizes[:, None]


def test_the_linear_closed_form() -> None:
    """sigma_i proportional to 1 / ||a_i||, and the given mean."""
    weights = weights_by_cell()
    found = discarded_entropy(lambda x: x.flatten(1) @ weights.T, IMAGES, grid=3, samples=48, target=-2.0)
    assert found.shape == (2, 3, 3)
    expected = -weights.norm(dim=1).log().double().view(3, 3)
    expected = expected - expected.mean() - 2.0
    assert float(expected.max() - expected.min()) > 2
    for one in found:
        torch.testing.assert_close(one, expected, atol=0.06, rtol=0)
        assert float(one.mean()) == pytest.approx(-2.0, abs=1e-9)


def test_a_region_that_is_not_used_discards_all_that_it_may() -> None:
    weights = weights_by_cell()
    weights[:3] = 0  # the upper third
    found = discarded_entropy(lambda x: x.flatten(1) @ weights.T, IMAGES[:1], grid=3, target=-2.0)
    torch.testing.assert_close(found[0, 0], torch.full((3,), ENTROPY_OF_ONE, dtype=torch.float64))
    assert float(found[0, 1:].max()) < ENTROPY_OF_ONE - 1
    assert float(found.mean()) == pytest.approx(-2.0, abs=1e-9)
    assert pytest.approx(1.418939, abs=1e-6) == ENTROPY_OF_ONE


def test_the_features_scale_does_not_matter_and_the_seed_holds() -> None:
    weights = weights_by_cell(2)

    def run(factor: float, seed: int = 0) -> Tensor:
        feature = lambda x: factor * (x.flatten(1) @ weights.T).relu()  # noqa: E731
        return discarded_entropy(feature, IMAGES[:1], grid=3, steps=10, samples=8, seed=seed)

    with torch.no_grad():
        assert torch.equal(run(1.0), run(1024.0))
    assert not torch.equal(run(1.0), run(1.0, seed=1))


def test_the_models_layer_is_read_and_the_model_left_as_it_was() -> None:
    model = tiny_conv(seed=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = information_map(model, "norm", IMAGES, grid=3, steps=8, samples=8)
    again = information_map(model, "norm", IMAGES[1:], grid=3, steps=8, samples=8)
    assert torch.equal(again[0], found[1])  # an image on its own
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())
    # behind the ReLU nothing is left to rectify; before it, the two differ
    assert torch.equal(information_map(model, "mid", IMAGES, grid=3, steps=8, samples=8), found)
    plain = information_map(model, "norm", IMAGES, grid=3, steps=8, samples=8, rectified=False)
    assert not torch.equal(plain, found)


def test_less_moves_the_feature_than_the_same_entropy_everywhere() -> None:
    """On a network that is not linear: the map's noise moves its feature less than even noise does."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh())
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(12, 36, generator=torch.Generator().manual_seed(3)))
        net[1].weight[:, :18] *= 0.1
    image = IMAGES[:1]
    found = discarded_entropy(net, image, grid=3, steps=80, samples=48)[0]
    noise = torch.randn(2000, 1, 6, 6, generator=torch.Generator().manual_seed(9))

    def moved(entropies: Tensor) -> float:
        sigma = (entropies - ENTROPY_OF_ONE).exp().float().repeat_interleave(2, 0).repeat_interleave(2, 1)
        with torch.no_grad():
            return float((net(image + sigma * noise) - net(image)).square().mean())

    assert moved(found) < 0.8 * moved(torch.full((3, 3), float(found.mean())))


def test_bad_input() -> None:
    def feature(x: Tensor) -> Tensor:
        return x.flatten(1)

    with pytest.raises(InputError, match=r"moves image 0's feature by 0\.0"):
        discarded_entropy(lambda x: 0 * feature(x), IMAGES, grid=2, samples=2)
    with pytest.raises(InputError, match="unknown layer 'nrom'"):
        information_map(tiny_conv(), "nrom", IMAGES)
    broken = IMAGES.clone()
    broken[0, 0, 0, 0] = math.inf
    for images, how, match in (
        (broken, {}, "finite images"),
        (IMAGES[:0], {}, "finite images"),
        (IMAGES, {"grid": 7}, "1 to 6 cells a side, found 7"),
        (IMAGES, {"grid": 2, "samples": 0}, "samples"),
        (IMAGES, {"grid": 2, "steps": -1}, "steps"),
        (IMAGES, {"grid": 2, "rate": 0.0}, "rate"),
        (IMAGES, {"grid": 2, "low": 0.0}, "least deviation"),
        (IMAGES, {"grid": 2, "low": 0.5, "high": 0.4}, "greatest deviation"),
        (IMAGES, {"grid": 2, "target": 1.5}, "mean entropy"),
    ):
        with pytest.raises(InputError, match=match):
            discarded_entropy(feature, images, **how)
