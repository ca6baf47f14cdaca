from __future__ import annotations

import itertools

import pytest

from understudy.auditing.rows import HISTORY, thinned

Rows = list[tuple[float, float, float, int]]


def course(many: int) -> Rows:
    return [(0.02 * (i + 1), 0.1 + 0.2 * i / many, 0.9 - 0.5 * i / many, 64 * i) for i in range(many)]


@pytest.mark.parametrize("many", [1, 2, HISTORY, HISTORY + 1, 500, 5000])
def test_a_course_is_thinned_to_forty_rows_with_both_ends(many: int) -> None:
    rows = course(many)
    kept = thinned(rows)
    assert len(kept) == many if many <= HISTORY else len(kept) <= HISTORY
    assert (kept[0], kept[-1]) == (rows[0], rows[-1])
    assert set(kept) <= set(rows)
    assert list(kept) == sorted(kept)


def test_what_is_kept_is_even_in_the_logarithm_of_time() -> None:
    seconds = [row[0] for row in thinned(course(5000))]
    steps = [b / a for a, b in itertools.pairwise(seconds[8:])]
    assert max(steps) < 1.6
    assert len(seconds) > 25


def test_a_course_of_no_time_is_kept() -> None:
    rows = [(0.0, 0.1, 0.9 - i / 100, i) for i in range(60)]
    kept = thinned(rows)
    assert (kept[0], kept[-1]) == (rows[0], rows[-1])
