"""Numbers that belong to a row: the same in any grouping, and uniform."""

from __future__ import annotations

import numpy as np
from scipy import stats

from understudy.teachers.counter import stream_key, uniforms

KEY = stream_key("test", 0)


def test_a_rows_numbers_do_not_depend_on_its_company() -> None:
    rows = np.arange(100)
    whole = uniforms(KEY, rows, 7)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(uniforms(KEY, order, 7), whole[order])
    np.testing.assert_array_equal(uniforms(KEY, rows[3:4], 7)[0], whole[3])
    np.testing.assert_array_equal(uniforms(KEY, rows, 3), whole[:, :3])


def test_another_key_gives_other_numbers() -> None:
    assert stream_key("test", 0) != stream_key("test", 1) != stream_key("tes", "t1")
    assert not (uniforms(KEY, np.arange(50), 4) == uniforms(stream_key("test", 1), np.arange(50), 4)).any()


def test_they_are_uniform_and_unrelated() -> None:
    """Kolmogorov-Smirnov over all; no correlation along rows, along columns or between neighbouring keys."""
    drawn = uniforms(KEY, np.arange(2000), 20)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    other = uniforms(KEY + 1, np.arange(2000), 20)
    for a, b in ((drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:]), (drawn, other)):
        assert stats.pearsonr(a.ravel(), b.ravel()).pvalue > 1e-3


def test_the_first_numbers_stay_what_they_are() -> None:
    """A store written today must be replayed tomorrow: splitmix64, as in its authors' C, in plain integers."""
    mask = 2**64 - 1

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & mask
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB & mask
        return word ^ (word >> 31)

    start = mix((5 * 0xD1B54A32D192ED03 & mask) ^ 12345)
    expected = [(mix(start + c * 0x9E3779B97F4A7C15 & mask) >> 11) * 2.0**-53 for c in (1, 2, 3)]
    assert uniforms(12345, np.array([5]), 3)[0].tolist() == expected
