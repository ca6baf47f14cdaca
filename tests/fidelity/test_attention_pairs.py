"""Comparisons over a data set: batches, pairs, all at once, means with intervals, chance."""

from __future__ import annotations

import pytest
import torch

from understudy.errors import InputError
from understudy.fidelity.attention_compare import map_divergence, overlap, rank_correlation, rescaled
from understudy.fidelity.attention_pairs import MapComparison, compare_maps
from understudy.fidelity.intervals import bootstrap_mean


def maps(seed: int, many: int = 20) -> torch.Tensor:
    return torch.randn(many, 4, 5, generator=torch.Generator().manual_seed(seed))


def three() -> dict[str, torch.Tensor]:
    shared = maps(0)
    return {"t1": shared + 0.3 * maps(1), "t2": shared + 0.3 * maps(2), "s": maps(3)}


def test_every_pair_and_every_measure() -> None:
    given = three()
    pairs = compare_maps(given, thresholds=(0.2, 0.4), smoothing=0.05)
    assert [(pair.one, pair.other) for pair in pairs] == [("t1", "t2"), ("t1", "s"), ("t2", "s")]
    for pair in pairs:
        one, other = given[pair.one], given[pair.other]
        assert list(pair.values) == ["iou@0.2", "iou@0.4", "spearman", "kl"]
        assert torch.allclose(pair.values["iou@0.2"], overlap([one, other], 0.2))
        assert torch.allclose(pair.values["spearman"], rank_correlation(one, other))
        assert torch.allclose(pair.values["kl"], map_divergence(one, other, 0.05))


def test_a_mean_has_its_interval_and_chance_is_what_strangers_share() -> None:
    alike, apart, _ = compare_maps(three())
    found = alike.estimate("spearman", confidence=0.9)
    values = alike.values["spearman"]
    assert found.mean == pytest.approx(values.mean().item())
    assert (found.low, found.high) == bootstrap_mean(values, 0.9)
    assert (found.examples, found.undefined) == (20, 0)
    chance = alike.estimate("spearman", by_chance=True)
    assert chance.high < found.low
    assert chance.examples == 20
    strangers = apart.estimate("iou@0.4")
    assert strangers.low < apart.estimate("iou@0.4", by_chance=True).mean < strangers.high


def test_chance_never_holds_an_example_against_itself() -> None:
    """Each example has a map of its own, the same in both models: only strangers are unlike."""
    unlike = torch.eye(12).view(12, 3, 4)
    for seed in range(20):
        (pair,) = compare_maps({"t": unlike, "s": unlike}, seed=seed)
        assert pair.values["iou@0.4"].eq(1).all()
        assert pair.chance["iou@0.4"].eq(0).all()


def test_batches_come_to_the_same_as_all_at_once() -> None:
    given = three()
    comparison = MapComparison(list(given), size=(8, 10))
    for cut in (slice(0, 8), slice(8, 19), slice(19, 20)):
        comparison.update({name: part[cut] for name, part in given.items()})
    whole = compare_maps(given, size=(8, 10))
    for one, other in zip(comparison.pairs(), whole, strict=True):
        for name, values in one.values.items():
            assert torch.allclose(values, other.values[name])
        assert len(one.chance["kl"]) == 19  # the one alone in its batch has no stranger
    larger = [rescaled(part, (8, 10)) for part in given.values()]
    assert torch.equal(comparison.together()["iou@0.4"], overlap(larger))


def test_all_at_once_share_less_than_any_two() -> None:
    given = three()
    comparison = MapComparison(list(given))
    comparison.update(given)
    joint = comparison.together()["iou@0.4"]
    assert torch.equal(joint, overlap(list(given.values())))
    assert all((joint <= pair.values["iou@0.4"]).all() for pair in comparison.pairs())


def test_flat_maps_have_no_ranks_and_are_counted() -> None:
    one = maps(0)
    one[:5] = 0.25
    (pair,) = compare_maps({"t": one, "s": maps(1)})
    found = pair.estimate("spearman")
    assert (found.examples, found.undefined) == (15, 5)
    assert found.mean == pytest.approx(rank_correlation(one[5:], maps(1)[5:]).mean().item())
    assert pair.estimate("iou@0.4").undefined == 0
    (none,) = compare_maps({"t": torch.zeros(3, 4, 5), "s": maps(1, 3)})
    empty = none.estimate("spearman")
    assert (empty.mean, empty.low, empty.high, empty.examples, empty.undefined) == (None, None, None, 0, 3)
    (lone,) = compare_maps({"t": maps(0, 1), "s": maps(1, 1)})
    assert lone.estimate("kl", by_chance=True).mean is None
    assert lone.estimate("kl").low == lone.estimate("kl").high


def test_what_cannot_be_compared() -> None:
    for names in (["t"], ["t", "t"]):
        with pytest.raises(InputError, match="2 models at least"):
            MapComparison(names)
    for thresholds in ((), (0.4, 0.4)):
        with pytest.raises(InputError, match="1 thresholds at least"):
            MapComparison(["t", "s"], thresholds=thresholds)
    comparison = MapComparison(["t", "s"])
    for ask in (comparison.pairs, comparison.together):
        with pytest.raises(InputError, match="saw none"):
            ask()
    with pytest.raises(InputError, match=r"lacks maps of \['s'\]; it has those of \['t'\]"):
        comparison.update({"t": maps(0)})
    with pytest.raises(InputError, match="one shape"):
        comparison.update({"t": maps(0), "s": maps(1, 19)})
    with pytest.raises(InputError, match="threshold"):
        compare_maps({"t": maps(0), "s": maps(1)}, thresholds=(2.0,))
    (pair,) = compare_maps({"t": maps(0), "s": maps(1)})
    with pytest.raises(InputError, match=r"unknown measure 'iou@0\.5'"):
        pair.estimate("iou@0.5")


def test_a_map_that_is_even_is_left_out_where_asked() -> None:
    given = {"a": maps(0), "b": maps(1)}
    given["a"][:3] = 1.0
    given["b"][2:5] = 0.0
    (kept,) = compare_maps(given)
    (strict,) = compare_maps(given, leave_out_even=True)
    for measure, values in strict.values.items():
        assert values.isnan().tolist() == [True] * 5 + [False] * 15
        assert torch.equal(values[5:], kept.values[measure][5:])
        assert strict.estimate(measure).undefined == 5
    assert kept.estimate("iou@0.4").undefined == 0
    gone = strict.chance["iou@0.4"].isnan()
    assert torch.equal(strict.chance["kl"][~gone], kept.chance["kl"][~gone])
    assert gone.any()
