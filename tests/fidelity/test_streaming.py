"""Streaming fidelity against SciPy, torch's own divergences, numpy on all examples at once, and worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import binomtest, sem, wasserstein_distance
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.distances import ensemble_logits, jensen_shannon_distance, wasserstein
from understudy.fidelity.streaming import Fidelity, per_example


def sample(seed: int, n: int = 60, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    t = 2 * torch.randn(n, classes, generator=draw)
    s = t + torch.randn(n, classes, generator=draw)
    return t, s, torch.randint(0, classes, (n,), generator=draw)


def whole(t: Tensor, s: Tensor, labels: Tensor | None = None) -> Fidelity:
    seen = Fidelity()
    seen.update(t, s, labels)
    return seen


def by_reference(t: Tensor, s: Tensor) -> dict[str, np.ndarray]:
    p, q = (z.double().softmax(1).numpy() for z in (t, s))
    places = np.arange(p.shape[1])
    return {
        "agreement": (p.argmax(1) == q.argmax(1)).astype(float),
        "kl": rel_entr(p, q).sum(1),
        "total_variation": np.maximum(p - q, 0).sum(1),
        "jensen_shannon": jensenshannon(p, q, axis=1),
        "wasserstein": np.array(
            [wasserstein_distance(places, places, a, b) for a, b in zip(p, q, strict=True)]
        ),
    }


@given(st.integers(0, 2**20), st.integers(2, 7), st.integers(1, 25))
@settings(max_examples=15, deadline=None)
def test_means_and_errors_in_pieces_against_scipy_on_all(seed: int, classes: int, size: int) -> None:
    t, s, labels = sample(seed, classes=classes)
    seen, half = Fidelity(), Fidelity()
    for i in range(0, 60, size):
        into = seen if i < 30 else half
        into.update(t[i : i + size], s[i : i + size], labels[i : i + size])
    seen.merge(half)
    found = seen.result()
    assert (found.count, found.classes) == (60, classes)
    expected = by_reference(t, s)
    t_right, s_right = (z.argmax(1).numpy() == labels.numpy() for z in (t, s))
    expected["teacher_accuracy"], expected["student_accuracy"] = t_right * 1.0, s_right * 1.0
    expected["accuracy_gap"] = expected["student_accuracy"] - expected["teacher_accuracy"]
    expected["agreement_where_right"] = expected["agreement"][t_right]
    expected["agreement_where_wrong"] = expected["agreement"][~t_right]
    for name, values in expected.items():
        got = getattr(found, name)
        if len(values) == 0:
            assert got is None
            continue
        assert got.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12), name
        assert got.count == len(values)
        if len(values) > 1:
            assert got.error == pytest.approx(sem(values), rel=1e-9, abs=1e-12), name
        else:
            assert got.error is None
    assert set(found.estimates()) == {name for name, values in expected.items() if len(values)}


def test_worked_numbers() -> None:
    """An ensemble by the mean confidence and by the mean logit; and a second one, by the mean logit."""
    members = [torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    student = torch.tensor([[0.0, 2.0, -1.0]])
    mean = ensemble_logits(members)
    torch.testing.assert_close(
        mean.softmax(1), torch.tensor([[0.527868, 0.345156, 0.126976]]).double(), atol=1e-6, rtol=0
    )
    found = whole(mean, student.double()).result()
    assert found.kl.mean == pytest.approx(0.640040, abs=1e-6)
    assert (found.agreement.mean, found.agreement.error, found.kl.error) == (0.0, None, None)
    logits = ensemble_logits(members, "logits")
    assert whole(logits, student.double()).result().kl.mean == pytest.approx(0.675992, abs=1e-6)
    of_logits = ensemble_logits([torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]])], "logits")
    found = whole(of_logits, torch.tensor([[2.0, 0.0, 1.0]]).double()).result()
    assert found.agreement.mean == 1.0
    assert found.kl.mean == pytest.approx(0.297265, abs=1e-6)


def test_equal_models_are_at_distance_zero() -> None:
    t, _, labels = sample(3)
    shifted = whole(t.double(), t.double() + 7.0, labels).result()
    for found in (whole(t, t, labels).result(), whole(1e4 * t, 1e4 * t).result()):
        assert found.agreement.mean == 1.0
        assert [
            getattr(found, n).mean for n in ("kl", "total_variation", "jensen_shannon", "wasserstein")
        ] == [0.0] * 4
    assert shifted.kl.mean < 1e-12
    assert shifted.accuracy_gap is not None
    assert shifted.accuracy_gap.mean == 0.0


def test_ends_of_the_ranges_for_confident_models() -> None:
    t, s = torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([[-1e4, 0.0, 1e4]])
    found = whole(t, s).result()
    assert (found.total_variation.mean, found.wasserstein.mean, found.kl.mean) == (1.0, 2.0, 2e4)
    assert found.jensen_shannon.mean == pytest.approx(math.sqrt(math.log(2)))


@given(st.integers(0, 2**20), st.integers(2, 7))
@settings(max_examples=15, deadline=None)
def test_inequalities_between_the_distances(seed: int, classes: int) -> None:
    t, s, _ = sample(seed, classes=classes)
    _, kl, tv, js, w = per_example(t, s)
    assert (tv <= (kl / 2).sqrt() + 1e-12).all()  # Pinsker
    assert (w <= (classes - 1) * tv + 1e-12).all()
    assert (w >= tv - 1e-12).all()
    assert (js.square() <= math.log(2) * tv + 1e-12).all()
    assert (js.square() >= tv.square() / 2 - 1e-12).all()
    u = t.flip(0)
    for distance in (jensen_shannon_distance, wasserstein):
        assert torch.equal(distance(t, s), distance(s, t))
        assert (distance(t, u) <= distance(t, s) + distance(s, u) + 1e-12).all()


def test_agreement_does_not_see_a_temperature_and_kl_does() -> None:
    t, s, _ = sample(4)
    plain, hot = whole(t, s).result(), whole(t, s / 4).result()
    assert plain.agreement == hot.agreement
    assert abs(plain.kl.mean - hot.kl.mean) > 0.05


def test_order_of_classes_matters_to_wasserstein_alone() -> None:
    t, s, _ = sample(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    before, after = per_example(t, s).mean(1), per_example(t[:, order], s[:, order]).mean(1)
    torch.testing.assert_close(before[:4], after[:4])
    assert abs(before[4] - after[4]) > 1e-3


def test_ensembles() -> None:
    t, s, _ = sample(6)
    for average in ("probabilities", "logits"):
        assert torch.equal(ensemble_logits([t], average), t.double())
        same = ensemble_logits([t, t, t], average)
        assert whole(same, t.double()).result().kl.mean < 1e-12
        torch.testing.assert_close(ensemble_logits([t, s], average), ensemble_logits([s, t], average))
    mean = (t.double().softmax(1) + s.double().softmax(1)) / 2
    torch.testing.assert_close(ensemble_logits([t, s]).exp(), mean)


def test_an_exact_interval_of_the_agreement() -> None:
    t, s, _ = sample(7)
    found = whole(t, s).result()
    expected = binomtest(int((t.argmax(1) == s.argmax(1)).sum()), 60).proportion_ci(0.9)
    assert found.agreement_interval(0.9) == pytest.approx((expected.low, expected.high))


def test_standard_errors_tell_the_spread_of_means() -> None:
    """300 sets of 100 examples: the deviation of their means is the error that one of them reports."""
    t, s, _ = sample(8, n=30000)
    parts = [whole(t[i : i + 100], s[i : i + 100]).result() for i in range(0, 30000, 100)]
    for name in ("agreement", "kl", "wasserstein"):
        spread = np.std([getattr(one, name).mean for one in parts], ddof=1)
        told = np.mean([getattr(one, name).error for one in parts])
        assert told == pytest.approx(spread, rel=0.12), name


def test_half_precision_and_merging_with_nothing() -> None:
    t, s, _ = sample(9)
    half = whole(t.bfloat16(), s.bfloat16()).result()
    assert half == whole(t.bfloat16().float(), s.bfloat16().float()).result()
    seen = whole(t, s)
    before = seen.result()
    seen.merge(Fidelity())
    fresh = Fidelity()
    fresh.merge(seen)
    assert before == seen.result() == fresh.result()
    assert before.teacher_accuracy is None


def test_labels_for_a_part_of_the_batches() -> None:
    t, s, labels = sample(10)
    seen = whole(t[:20], s[:20])
    seen.update(t[20:], s[20:], labels[20:])
    found = seen.result()
    assert found.agreement.count == 60
    assert found.student_accuracy is not None
    assert found.student_accuracy.count == 40


def test_bad_input_leaves_nothing_behind() -> None:
    t, s, labels = sample(11)
    seen = whole(t, s, labels)
    before = seen.result()
    broken = s.clone()
    broken[3, 1] = math.nan
    for teacher, student, given_labels, match in (
        (t, broken, None, "student must be finite; row 3"),
        (t[:, :4], s[:, :4], None, "5 classes have been seen; found logits of 4"),
        (t, s, labels + 1, "labels must lie in 0..4"),
        (t, s, labels - 1, "labels must lie in 0..4"),
        (t[:0], s[:0], None, "no example"),
    ):
        with pytest.raises(InputError, match=match):
            seen.update(teacher, student, given_labels)
    assert seen.result() == before
    with pytest.raises(InputError, match="5 classes have been seen"):
        seen.merge(whole(t[:, :2], s[:, :2]))
    with pytest.raises(InputError, match="count twice"):
        seen.merge(seen)
    with pytest.raises(InputError, match="one example at least"):
        Fidelity().result()
    far = torch.tensor([[1e308, -1e308]], dtype=torch.float64)
    with pytest.raises(InputError, match="differences must be finite"):
        per_example(far, -far)
    with pytest.raises(InputError, match="one member at least"):
        ensemble_logits([])
    with pytest.raises(InputError, match="member 1 must be finite"):
        ensemble_logits([s, broken])
    with pytest.raises(InputError, match=r"one shape \(B, C\), found \[\(2, 5\), \(60, 5\)\]"):
        ensemble_logits([t, s[:2]])
