"""Top-k and random sampling: what is kept, what it costs, what is lost, and that a sample's mean is the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers.encoding import Encoding
from understudy.teachers.sparse import Sampled, TopK, count_runs, draw
from understudy.teachers.targets import SparseTargets

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(50, 300, generator=GENERATOR)
ROWS = np.arange(50)


def there_and_back(encoding: Encoding, logits: Tensor, rows: np.ndarray, t: float = 1.0) -> SparseTargets:
    encoded = encoding.encode(logits, t, rows)
    assert encoded.entries.shape[1] == encoding.width(logits.shape[1])
    found = encoding.decode(encoded.entries, encoded.lengths, logits.shape[1])
    assert isinstance(found, SparseTargets)
    return found


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_top_k_keeps_the_likeliest_and_says_what_is_lost(t: float) -> None:
    expected, indices = (LOGITS.double() / t).softmax(1).topk(12)
    found = there_and_back(TopK(12, "float32"), LOGITS, ROWS, t)
    torch.testing.assert_close(found.indices, indices)
    torch.testing.assert_close(found.probabilities.double(), expected, rtol=1e-5, atol=0)
    lost = TopK(12).encode(LOGITS, t, ROWS).lost
    np.testing.assert_allclose(lost, 1 - expected.sum(1).numpy(), atol=1e-12)
    short = there_and_back(TopK(12), LOGITS, ROWS, t).probabilities.double()
    assert bool(
        (((short - expected) / expected).abs() <= 1.01 * 2.0**-11 * expected.log().abs() + 1e-6).all()
    )


def test_both_readings_of_top_k() -> None:
    """Un-renormalised it sums to a, renormalised to 1, and the best student is 2 (1 - a) away either way."""
    found = there_and_back(TopK(12, "float32"), LOGITS, ROWS)
    torch.testing.assert_close(found.renormalised().mass, torch.ones(50))
    torch.testing.assert_close(found.renormalised().probabilities * found.mass[:, None], found.probabilities)
    away = (found.renormalised().dense() - LOGITS.softmax(1)).abs().sum(1)
    torch.testing.assert_close(away, 2 * (1 - found.mass), rtol=1e-4, atol=1e-5)


def test_all_classes_lose_nothing() -> None:
    torch.testing.assert_close(
        there_and_back(TopK(300, "float32"), LOGITS, ROWS).dense(), LOGITS.softmax(1), rtol=1e-4, atol=1e-9
    )


def test_the_worked_counts() -> None:
    """Draws with counts (3, 1, 1, 0) of N = 5 are (0.6, 0.2, 0.2, 0)."""
    t = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    drawn = draw(t, torch.tensor([[0.1, 0.85, 0.0, 0.49, 0.6]], dtype=torch.float64))
    assert drawn.tolist() == [[0, 2, 0, 0, 1]]
    row, index, count = count_runs(drawn)
    assert (row.tolist(), index.tolist(), count.tolist()) == ([0, 0, 0], [0, 1, 2], [3, 1, 1])


def test_a_class_without_probability_is_never_drawn() -> None:
    p = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
    u = torch.tensor([[0.0, 0.5, math.nextafter(1.0, 0.0), math.nextafter(0.5, 0.0)]], dtype=torch.float64)
    assert draw(p, u).tolist() == [[1, 3, 3, 1]]
    assert int(draw(1.9 * p, u).max()) == 3


@pytest.mark.parametrize("t", [1.0, 2.0])
@pytest.mark.parametrize("proposal", [1.0, 0.8, 1.2])
def test_the_mean_of_samples_is_the_teacher_and_their_variance_is_known(proposal: float, t: float) -> None:
    """Every class within its 99.9 % interval (Bonferroni over classes); at tau = 1 variance is t (1 - t) / N."""
    units, n = 20_000, 8
    logits = LOGITS[:1, :40]
    teacher = (logits.double() / t).softmax(1)[0]
    found = (
        there_and_back(Sampled(n, proposal), logits.expand(units, 40), np.arange(units), t).dense().double()
    )
    r = (teacher**proposal) / (teacher**proposal).sum()
    variance = (teacher**2 / r - teacher**2) / n
    z = (found.mean(0) - teacher) / (variance / units).sqrt()
    assert float(z.abs().max()) < 4.3
    common = teacher > 0.01
    assert int(common.sum()) >= 5
    torch.testing.assert_close(found.var(0)[common], variance[common], rtol=0.15, atol=0)
    if proposal == 1.0:
        torch.testing.assert_close(found.sum(1), torch.ones(units).double(), rtol=0, atol=1e-6)
    else:
        assert float((found.sum(1) - 1).abs().max()) > 0.01


def test_a_certain_teacher_leaves_no_variance() -> None:
    logits = torch.tensor([[0.0, 200.0, 0.0]]).expand(100, 3)
    found = there_and_back(Sampled(50), logits, np.arange(100))
    assert found.indices.tolist() == [[1]] * 100
    assert found.probabilities.tolist() == [[1.0]] * 100


def test_many_draws_approach_the_teacher() -> None:
    found = there_and_back(Sampled(100_000), LOGITS[:3], ROWS[:3])
    assert float((found.dense() - LOGITS[:3].softmax(1)).abs().max()) < 0.01


@pytest.mark.parametrize("proposal", [1.0, 0.8])
def test_a_units_draws_belong_to_it_and_the_seed(proposal: float) -> None:
    encoding = Sampled(50, proposal)
    whole = there_and_back(encoding, LOGITS, ROWS).dense()
    parts = [there_and_back(encoding, LOGITS[r : r + 1], ROWS[r : r + 1]).dense() for r in range(50)]
    assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(50, generator=GENERATOR)
    assert torch.equal(there_and_back(encoding, LOGITS[order], ROWS[order.numpy()]).dense(), whole[order])
    assert not torch.equal(there_and_back(Sampled(50, proposal, seed=1), LOGITS, ROWS).dense(), whole)
    assert not torch.equal(there_and_back(encoding, LOGITS, ROWS + 50).dense(), whole)


@pytest.mark.parametrize(
    ("classes", "bytes_each"), [(100, 2), (32_000, 3), (128_256, 3), (151_936, 3), (300_000, 4)]
)
def test_class_and_count_share_one_word(classes: int, bytes_each: int) -> None:
    assert Sampled(50).width(classes) == bytes_each
    logits = torch.zeros(2, classes)
    logits[0, -1] = 40.0  # the last class, all 50 draws of it: the largest word there is
    encoded = Sampled(50).encode(logits, 1.0, ROWS[:2])
    assert encoded.lengths is not None
    assert encoded.lengths[0] == 1
    found = Sampled(50).decode(encoded.entries, encoded.lengths, classes)
    assert int(found.indices[0, 0]) == classes - 1
    torch.testing.assert_close(found.probabilities[:, :].sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(0), "k must be 1 or more, found 0"),
        (lambda: TopK(3, "int8"), "dtype must be 'float16' or 'float32'"),
        (
            lambda: TopK(301).encode(LOGITS, 1.0, ROWS),
            "k must be at most the number of classes, 300, found 301",
        ),
        (lambda: Sampled(0), "draws must be 1 or more, found 0"),
        (lambda: Sampled(proposal=0.0), "proposal must be a finite number above 0, found 0"),
        (lambda: Sampled(proposal=math.inf), "proposal must be a finite number"),
    ],
)
def test_what_means_nothing_is_refused(
    make: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # users run without the shape checks of the tests
    with pytest.raises(InputError, match=message):
        make()
