"""Information of codes against scikit-learn, brute force over pairings, and its bias where the truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.information import Information, JointCounts, PredictionInformation, information_of


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def of_codes(
    a: list[int] | np.ndarray, b: list[int] | np.ndarray, sizes: tuple[int, int] = (10, 10)
) -> Information:
    seen = JointCounts(*sizes)
    seen.update(torch.as_tensor(a), torch.as_tensor(b))
    return seen.result()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=80))
@settings(max_examples=40, deadline=None)
def test_against_sklearn_and_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = (list(codes) for codes in zip(*pairs, strict=True))
    found = of_codes(a, b, (6, 5))
    assert found.plug_in == pytest.approx(mutual_info_score(a, b), abs=1e-12)
    table = np.zeros((6, 5), dtype=np.int64)
    np.add.at(table, (a, b), 1)
    kept = table[table.any(1)][:, table.any(0)]
    assert found.chance == pytest.approx(expected_mutual_information(kept, len(a)), abs=1e-9)
    assert found.first_entropy == pytest.approx(entropy(table.sum(1)), abs=1e-12)
    assert found.second_entropy == pytest.approx(entropy(table.sum(0)), abs=1e-12)
    h = [
        entropy(t) + (np.count_nonzero(t) - 1) / (2 * len(a))
        for t in (table.sum(1), table.sum(0), table.ravel())
    ]
    assert found.corrected == pytest.approx(h[0] + h[1] - h[2], abs=1e-12)
    assert 0.0 <= found.plug_in <= min(found.first_entropy, found.second_entropy) + 1e-12
    flipped = information_of(torch.from_numpy(table.T.copy()))
    assert flipped.plug_in == pytest.approx(found.plug_in, abs=1e-12)


def test_chance_is_the_mean_over_all_pairings() -> None:
    a, b = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    every = [mutual_info_score(a, [b[i] for i in order]) for order in itertools.permutations(range(6))]
    assert of_codes(a, b).chance == pytest.approx(np.mean(every), abs=1e-12)


def test_worked_numbers() -> None:
    a, b = [int(c) for c in "0001112222"], [int(c) for c in "0011112220"]
    assert of_codes(a, b).plug_in == pytest.approx(0.673012, abs=1e-6)
    # 128 independent answers over 100 classes: 3.488 in one draw, which deviates by 0.03
    draw = np.random.default_rng(0)
    found = [of_codes(*draw.integers(0, 100, (2, 128)), (100, 100)) for _ in range(20)]
    assert np.mean([one.plug_in for one in found]) == pytest.approx(3.488, abs=0.05)
    assert np.mean([one.chance for one in found]) == pytest.approx(3.488, abs=0.05)
    assert np.mean([one.corrected for one in found]) > 3  # as the module says: it does not help here


def test_bias_of_independent_codes_is_as_stated_and_corrected() -> None:
    draw = np.random.default_rng(1)
    found = [of_codes(*draw.integers(0, 4, (2, 200))) for _ in range(300)]
    plug_in, corrected = (np.array([getattr(one, n) for one in found]) for n in ("plug_in", "corrected"))
    error = plug_in.std() / math.sqrt(300)
    assert plug_in.mean() == pytest.approx(9 / 400, abs=4 * error)
    assert corrected.mean() == pytest.approx(0.0, abs=4 * error)
    assert plug_in.mean() > 10 * error


def test_bias_of_dependent_codes() -> None:
    """A symmetric channel of four letters: the other keeps the letter with probability 0.7, else draws another."""
    truth = math.log(4) - entropy([0.7, 0.1, 0.1, 0.1])
    draw = np.random.default_rng(2)
    found = []
    for _ in range(300):
        a = draw.integers(0, 4, 200)
        b = (a + draw.choice(4, 200, p=[0.7, 0.1, 0.1, 0.1])) % 4
        found.append(of_codes(a, b))
    values = np.array([[one.plug_in, one.corrected] for one in found])
    error = values[:, 1].std() / math.sqrt(300)
    assert values[:, 1].mean() == pytest.approx(truth, abs=4 * error)
    assert values[:, 0].mean() == pytest.approx(truth + 9 / 400, abs=4 * error)


def logits(seed: int, n: int = 150, classes: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    t = 2 * torch.randn(n, classes, generator=draw)
    return t, t + torch.randn(n, classes, generator=draw)


def test_predictions_in_pieces() -> None:
    t, s = logits(0)
    seen, rest = PredictionInformation(6, bins=7), PredictionInformation(6, bins=7)
    seen.update(t[:40], s[:40])
    rest.update(t[40:], s[40:])
    seen.merge(rest)
    a, b = t.argmax(1).numpy(), s.argmax(1).numpy()
    assert seen.answers().plug_in == pytest.approx(mutual_info_score(a, b), abs=1e-12)
    top = [np.ceil(z.double().softmax(1).amax(1).numpy() * 7) for z in (t, s)]  # right-closed
    assert seen.confidences().plug_in == pytest.approx(mutual_info_score(*top), abs=1e-12)
    assert seen.confidences().count == 150


def test_names_of_answers_do_not_matter_and_a_copy_has_all() -> None:
    t, s = logits(1)
    plain, renamed, copy = (PredictionInformation(6) for _ in range(3))
    plain.update(t, s)
    renamed.update(t, s[:, [5, 3, 4, 0, 1, 2]])
    copy.update(t, 3 * t[:, [1, 2, 3, 4, 5, 0]])
    assert renamed.answers().plug_in == pytest.approx(plain.answers().plug_in, abs=1e-12)
    assert copy.answers().plug_in == pytest.approx(copy.answers().first_entropy, abs=1e-12)
    constant = PredictionInformation(6)
    constant.update(t, torch.zeros_like(s))
    assert (constant.answers().plug_in, constant.answers().corrected) == (0.0, 0.0)


@pytest.mark.usefixtures("plain_types")
def test_bad_input() -> None:
    t, s = logits(2)
    seen = PredictionInformation(6)
    seen.update(t, s)
    before = seen.answers()
    for call, match in (
        (lambda: seen.update(t[:, :5], s[:, :5]), "logits must be of 6 classes, found 5"),
        (lambda: seen.update(t, s / 0), "finite"),
        (lambda: seen.merge(seen), "itself"),
        (lambda: seen.merge(PredictionInformation(5)), "cannot be merged"),
        (lambda: seen.merge(PredictionInformation(6, bins=4)), "different numbers of bins"),
        (lambda: PredictionInformation(6, bins=1), "2 bins at least, found 1"),
        (lambda: PredictionInformation(6).answers(), "one pair at least"),
        (lambda: PredictionInformation(None).answers(), "were not kept"),
        (lambda: seen.merge(PredictionInformation(None)), "keeps the answers"),
        (lambda: JointCounts(10**5, 10**5), "found 100000 rows and 100000 columns"),
        (
            lambda: JointCounts(2, 2).update(torch.tensor([0, 2]), torch.tensor([0, 1])),
            r"first codes .* 0\.\.2",
        ),
        (lambda: JointCounts(2, 2).update(torch.tensor([0]), torch.tensor([-1])), "second codes"),
        (
            lambda: JointCounts(2, 2).update(torch.tensor([0]), torch.tensor([0, 1])),
            r"pairs, \(N,\) of each, found \(1,\) and \(2,\)",
        ),
        (lambda: information_of(torch.tensor([[1, -1]])), "0 or more"),
    ):
        with pytest.raises(InputError, match=match):
            call()
    assert seen.answers() == before
