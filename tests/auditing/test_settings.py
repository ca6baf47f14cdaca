from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from understudy.auditing.settings import AuditSettings, Certify
from understudy.data.dataset import DataSet
from understudy.errors import InputError


def test_zero_is_always_there_and_radii_are_sorted_once_each() -> None:
    assert AuditSettings(eps=(0.2, 0.1, 0.2)).eps == (0.0, 0.1, 0.2)
    assert AuditSettings(eps=()).eps == (0.0,)
    assert str(AuditSettings(eps=(-0.0, 0.0)).eps) == "(0.0,)"


@pytest.mark.parametrize(
    ("points", "start", "available", "rows"),
    [
        (None, 0, 360, slice(0, 100)),
        (None, 300, 360, slice(300, 360)),
        (None, 0, 7, slice(0, 7)),
        (360, 0, 360, slice(0, 360)),
        (3, 5, 8, slice(5, 8)),
    ],
)
def test_rows(points: int | None, start: int, available: int, rows: slice) -> None:
    assert AuditSettings(eps=(), points=points, start=start).rows(available) == rows


@pytest.mark.parametrize(
    ("points", "start", "said"),
    [(None, 8, "start 8 lies past the last row"), (9, 0, r"points 0\.\.8 .* 8 rows"), (4, 5, r"5\.\.8")],
)
def test_rows_that_do_not_exist(points: int | None, start: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        AuditSettings(eps=(), points=points, start=start).rows(8)


def test_check_holds_the_radii_against_the_range() -> None:
    data = DataSet("made", "test", torch.rand(3, 2), low=0.0, high=2.0)
    AuditSettings(eps=(1.5,), points=3).check(data)
    with pytest.raises(InputError, match=r"eps 2\.5 is larger than the whole input range \[0, 2\]"):
        AuditSettings(eps=(2.5,), points=3).check(data)
    with pytest.raises(InputError, match="3 rows"):
        AuditSettings(eps=(), points=4).check(data)
    free = DataSet("made", "test", torch.rand(3, 2), low=-math.inf, high=math.inf)
    AuditSettings(eps=(1e6,), points=3).check(free)


def test_a_search_that_may_never_end_gets_a_limit() -> None:
    limits = {mode: AuditSettings(eps=(), certify=mode).time_limit for mode in get_args(Certify)}
    assert limits == {"none": None, "ibp": None, "crown": None, "alpha": None, "milp": 30.0, "exact": 30.0}
    assert AuditSettings(eps=(), certify="exact", time_limit=2.5).time_limit == 2.5


def test_certificates_come_from_searches_over_boxes() -> None:
    assert AuditSettings(eps=(), certify="exact", certificates=True).certificates
    assert AuditSettings(eps=(), certify="alpha", certificates=True).certificates
    for changes in ({"certify": "milp"}, {"certify": "crown"}, {"certify": "exact", "norm": "l2"}):
        with pytest.raises(
            InputError, match="certificates come from --certify alpha or exact over linf balls"
        ):
            AuditSettings(**{"eps": (), "certificates": True, **changes})  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "changes",
    [
        {"eps": (-1.0,)}, {"eps": (math.nan,)}, {"points": 0}, {"start": -1}, {"certify": "beta"},
        {"certificates": True}, {"time_limit": 0.0}, {"time_limit": math.nan}, {"tolerance": -1e-9},
        {"tolerance": math.inf}, {"norm": "l1"}, {"seed": -1}, {"seed": 2**63},
    ],
)  # fmt: skip
def test_values_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        AuditSettings(**{"eps": (0.1,), **changes})
