"""Minibatch CKA: against the sums of the unbiased HSIC, against the whole set, and on models that stay as they were."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.fidelity.representation import hsic_1, unbiased_cka
from understudy.fidelity.representation_map import MinibatchCKA, representation_map
from understudy.testing import tiny_conv, tiny_mlp

INPUTS = torch.rand(50, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def taps(n: int, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 3, generator=random)
    fresh = torch.randn(n, 2, 4, generator=random)
    one = {"a": shared, "b": shared.tanh()[:, :2] + 1, "c": fresh}
    noise = torch.randn(n, 3, generator=random)
    return one, {"d": 0.8 * shared + noise, "e": torch.randn(n, 5, generator=random)}


def state(model: nn.Module) -> tuple:
    modes = [part.training for part in model.modules()]
    hooks = sum(len(part._forward_hooks) for part in model.modules())
    wanted = [p.requires_grad for p in model.parameters()]
    return modes, hooks, wanted, [value.clone() for value in model.state_dict().values()]


def assert_same_state(model: nn.Module, before: tuple) -> None:
    after = state(model)
    assert after[:3] == before[:3]
    assert all(torch.equal(a, b) for a, b in zip(after[3], before[3], strict=True))


def test_the_map_is_the_ratio_of_sums() -> None:
    parts = [taps(8, seed) for seed in range(3)]
    sums = MinibatchCKA("abc", "de")
    for one, other in parts:
        sums.update(one, other)
    found = sums.result()
    assert (found.one, found.other, found.examples, found.batches) == (tuple("abc"), tuple("de"), 24, 3)
    assert found.chance.shape == (0, 3, 2)
    for i, a in enumerate("abc"):
        for j, b in enumerate("de"):
            cross = sum(hsic_1(one[a], other[b]) for one, other in parts)
            own = sum(hsic_1(one[a], one[a]) for one, _ in parts)
            others = sum(hsic_1(other[b], other[b]) for _, other in parts)
            assert found.values[i, j] == pytest.approx(cross / math.sqrt(own * others), rel=1e-9)


def test_one_batch_is_the_unbiased_form_and_unequal_batches_count_by_their_examples() -> None:
    one, other = taps(30)
    sums = MinibatchCKA("abc", "de")
    sums.update(one, other)
    assert sums.result().values[1, 0] == pytest.approx(unbiased_cka(one["b"], other["d"]), rel=1e-9)
    sums = MinibatchCKA("a", "d")
    cuts = [slice(0, 20), slice(20, 25), slice(25, 30)]
    for cut in cuts:
        sums.update({"a": one["a"][cut]}, {"d": other["d"][cut]})
    sizes = [20, 5, 5]
    kinds = [(one["a"], other["d"]), (one["a"], one["a"]), (other["d"], other["d"])]
    cross, own, others = (
        sum(n * hsic_1(x[cut], y[cut]) for n, cut in zip(sizes, cuts, strict=True)) for x, y in kinds
    )
    assert sums.result().values[0, 0] == pytest.approx(cross / math.sqrt(own * others), rel=1e-9)


@pytest.mark.parametrize("batch", [8, 50])
def test_batches_of_any_size_come_to_the_closed_form(batch: int) -> None:
    """Three unit Gaussians a and 0.8 a + noise: ||0.8 I||^2 / (||I|| ||1.64 I||) = 0.64 / 1.64."""
    one, other = taps(3000)
    sums = MinibatchCKA("a", "de")
    for start in range(0, 3000, batch):
        cut = slice(start, start + batch)
        sums.update({"a": one["a"][cut]}, {name: part[cut] for name, part in other.items()})
    found = sums.result().values[0].tolist()
    assert found == pytest.approx([0.64 / 1.64, 0], abs=0.03)


def test_the_baseline_tells_what_is_alike_from_chance() -> None:
    sums = MinibatchCKA("ac", "de", permutations=99, seed=1)
    for seed in range(4):
        sums.update(*taps(25, seed))
    found = sums.result()
    p = found.p_values()
    assert found.chance.shape == (99, 2, 2)
    assert p[0, 0].item() == pytest.approx(0.01, abs=1e-6)
    assert (p[1] > 0.02).all()
    assert p[0, 1] > 0.02
    assert found.chance.mean(0).abs().max() < 4 * found.chance.std(0).max() / 99**0.5
    again = MinibatchCKA("ac", "de", permutations=99, seed=1)
    for seed in range(4):
        again.update(*taps(25, seed))
    assert torch.equal(again.result().chance, found.chance)


def test_a_layer_that_is_dead_has_no_value() -> None:
    one, other = taps(10)
    sums = MinibatchCKA("ab", "de", permutations=3)
    sums.update({**one, "b": torch.full((10, 4), 0.1)}, other)
    found = sums.result()
    assert found.values[1].isnan().all()
    assert not found.values[0].isnan().any()
    assert found.p_values()[1].isnan().all()
    assert not found.p_values()[0].isnan().any()


def test_models_are_asked_and_left_as_they_were() -> None:
    one, other = tiny_conv(seed=1).train(), tiny_mlp(seed=2).train()
    one.norm.eval()
    before = state(one), state(other)
    found = representation_map(
        one, other, INPUTS.split(16), ["conv", "mid", "m?d"], ["first", "head"], seed=2
    )
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])
    assert (found.one, found.other) == (("conv", "mid"), ("first", "head"))
    assert (found.examples, found.batches, found.left_out) == (48, 3, 2)
    one.eval(), other.eval()
    sums = MinibatchCKA(["conv"], ["head"])
    with torch.no_grad():
        for part in INPUTS[:48].split(16):
            sums.update({"conv": one.conv(part)}, {"head": other(part)})
    assert sums.result().values[0, 0] == pytest.approx(found.values[0, 1].item(), rel=1e-6)


def test_a_model_is_like_itself_and_inputs_may_differ() -> None:
    model = tiny_conv(seed=1)
    found = representation_map(model, model, INPUTS.split(25), ["conv", "mid", "head"]).values
    assert torch.allclose(found.diagonal(), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(found, found.T)
    assert found[0, 2] < 0.99
    pairs = [(part, part.flip(0)) for part in INPUTS.split(25)]
    assert representation_map(model, model, pairs, ["mid"]).values.item() < 0.5


def test_models_are_restored_after_an_error() -> None:
    class Fails(nn.Sequential):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("no")

    one, other = tiny_conv().train(), Fails(*tiny_mlp()).train()
    before = state(one), state(other)
    with pytest.raises(RuntimeError, match="no"):
        representation_map(one, other, [INPUTS], ["mid"], ["2"])
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


def test_what_cannot_be_mapped() -> None:
    one, other = taps(10)
    for names in ("", "aa"):
        with pytest.raises(InputError, match="names of taps"):
            MinibatchCKA(names, "de")
    with pytest.raises(InputError, match="0 or more, found -1"):
        MinibatchCKA("a", "d", permutations=-1)
    sums = MinibatchCKA("ab", "de")
    with pytest.raises(InputError, match="saw none"):
        sums.result()
    with pytest.raises(InputError, match=r"lacks the taps \['b'\]"):
        sums.update({"a": one["a"]}, other)
    with pytest.raises(InputError, match=r"same examples, found \[9, 10\]"):
        sums.update({**one, "b": one["b"][:9]}, other)
    with pytest.raises(InputError, match="same examples, found 10 and 9"):
        sums.update(one, {name: part[:9] for name, part in other.items()})
    with pytest.raises(InputError, match="'a' must be finite"):
        sums.update({**one, "a": one["a"] / 0}, other)
    with pytest.raises(InputError, match="4 examples at least, found 3"):
        sums.update(*taps(3))
    sums.update(one, other)
    with pytest.raises(InputError, match="no baseline"):
        sums.result().p_values()
    with pytest.raises(InputError, match="did you mean 'mid'"):
        representation_map(tiny_conv(), tiny_mlp(), [INPUTS], ["mdi"])
