"""Losses and views of the experiment on attention, against worked numbers and what they reduce to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.experiments.parts.attention_training import Labelled, Steered, TeamKD, Warped, z_scored
from understudy.models.outputs import Outputs, View
from understudy.models.taps import Tapped
from understudy.objectives.divergences import kl
from understudy.objectives.explanations import grad_cam
from understudy.sources.base import Cast
from understudy.testing import check_method, tiny_conv
from understudy.training.method import Method

ONE, TWO, OWN = (torch.tensor([row]) for row in ([3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [2.0, 0.0, 1.0]))


def said(logits: torch.Tensor, *heads: torch.Tensor) -> Outputs:
    return Outputs({"clean": View(logits, heads={str(i): head for i, head in enumerate(heads)})})


def loss(method: TeamKD, *teachers: torch.Tensor) -> float:
    batch = Batch({"clean": torch.zeros(1, 2)}, torch.tensor([0]), torch.tensor([0]))
    terms = method.terms(said(OWN), said(teachers[0], *teachers), batch)
    return float(sum(terms.values(), torch.zeros(1)))


@pytest.mark.parametrize(
    ("temperature", "alpha", "one", "both"),
    [(3.0, 0.6, 0.387316, 0.523133), (10.0, 0.2, 0.419534, 0.656513)],
)
def test_worked_losses(temperature: float, alpha: float, one: float, both: float) -> None:
    method = TeamKD(temperature=temperature, alpha=alpha)
    assert loss(method, ONE) == pytest.approx(one, abs=1e-6)
    assert loss(method, ONE, TWO) == loss(method, TWO, ONE) == pytest.approx(both, abs=1e-6)
    assert loss(method, ONE, ONE) == pytest.approx(one, abs=1e-6)  # a teacher twice is that teacher


@pytest.mark.parametrize(("temperature", "soft"), [(1.0, 0.100135), (2.0, 0.163621)])
def test_worked_z_scores(temperature: float, soft: float) -> None:
    method = TeamKD(temperature=temperature, alpha=0.0, standardised=True)
    assert loss(method, ONE) == pytest.approx(soft, abs=1e-6)
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(z_scored(logits).argmax(1), logits.argmax(1))  # changes a KL, never an agreement
    torch.testing.assert_close(z_scored(3 * logits + 2), z_scored(logits))
    assert float(kl(z_scored(logits), logits).mean()) > 0.01


def test_the_gradient_is_that_of_the_mean_confidence() -> None:
    heads = [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    own = torch.randn(4, 3, generator=torch.Generator().manual_seed(3), requires_grad=True)
    batch = Batch({"clean": torch.zeros(4, 2)}, torch.arange(4))
    found = TeamKD(temperature=2.0, alpha=0.0).terms(said(own), said(heads[0], *heads), batch)["soft"].sum()
    mean = torch.stack([(head / 2).softmax(1) for head in heads]).mean(0)
    wanted = 4 * F.kl_div((own / 2).log_softmax(1), mean, reduction="sum")
    for one, other in zip(*(torch.autograd.grad(each, own) for each in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other)


def test_steered_maps() -> None:
    first, second = tiny_conv(seed=1), tiny_conv(seed=2)
    batch = Batch({"clean": torch.rand(3, 1, 6, 6)}, torch.arange(3), torch.tensor([0, 1, 2]))

    def look(net: torch.nn.Module) -> Outputs:
        with Tapped(net.eval(), {"map": "mid"}) as tapped:
            logits, features = tapped(batch.clean)
        return Outputs({"clean": View(logits, features)})

    one, other = look(first), look(second)
    found = {weight: Steered(weight=weight).terms(other, one, batch) for weight in (-2.0, 1.0)}
    hard = F.cross_entropy(other.logits, torch.tensor([0, 1, 2]), reduction="none")
    torch.testing.assert_close(found[1.0]["hard"], hard)
    torch.testing.assert_close(found[-2.0]["maps"], -2 * found[1.0]["maps"])
    maps = [grad_cam(each.logits, each.features["map"], torch.tensor([0, 1, 2])) for each in (one, other)]
    torch.testing.assert_close(
        found[1.0]["maps"],
        1 - F.cosine_similarity(maps[0].flatten(1), maps[1].flatten(1)),
        atol=1e-6,
        rtol=1e-5,
    )
    same = look(first)
    assert float(Steered().terms(same, one, batch)["maps"].detach().abs().max()) < 1e-6


def test_the_strong_view_is_farther_from_the_image() -> None:
    images = torch.zeros(64, 1, 12, 12)
    images[:, :, 3:9, 5:7] = 1.0
    net, random, moved = tiny_conv(seed=1), Randomness(0), {}
    for strength in ("weak", "strong"):
        random.begin(0)
        batch = Batch({"clean": images}, torch.arange(64))
        shown = Warped(strength).show(batch, Cast(net, None), random).clean
        assert 0 <= float(shown.min()) <= float(shown.max()) <= 1 + 1e-6
        moved[strength] = float((shown - images).abs().mean())
    assert 0 < moved["weak"] < moved["strong"]
    assert Labelled(shown="strong").source(-1.0, 1.0) == Warped("strong", -1.0)


@pytest.mark.parametrize("method", [Steered(weight=0.5), TeamKD()])
def test_the_battery(method: Method) -> None:
    assert check_method(method)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="temperature"):
        TeamKD(temperature=0.0)
    with pytest.raises(InputError, match="alpha"):
        TeamKD(alpha=1.5)
    with pytest.raises(InputError, match="weight"):
        Steered(weight=float("inf"))
