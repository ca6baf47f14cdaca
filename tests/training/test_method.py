from __future__ import annotations

import math
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.methods import make_method
from understudy.sources import AsIs, Attacked


def test_a_radius_is_given_once() -> None:
    method = make_method("fd")
    assert method.eps is None
    assert method.with_radius(0.2, "l2").eps == 0.2
    assert method.with_radius(0.2, "l2").norm == "l2"
    assert make_method("fd", {"eps": "8/255"}).with_radius(0.2).eps == 8 / 255  # its own stays
    sd = make_method("sd")
    assert sd.with_radius(0.2) is sd


def test_the_source_is_the_attack_that_the_fields_describe() -> None:
    method = make_method("at", {"steps": "3", "step_size": "0.02", "restarts": "2", "attack_mode": "train"})
    source = method.with_radius(0.1).source(0.0, 1.0)
    assert isinstance(source, Attacked)
    assert (source.ball.eps, source.ball.low, source.ball.high) == (0.1, 0.0, 1.0)
    assert (source.ascent.steps, source.ascent.step_size, source.ascent.restarts) == (3, 0.02, 2)
    assert source.train_mode
    free = make_method("at", {"clip": "false"}).with_radius(0.1).source(0.0, 1.0)
    assert (free.ball.low, free.ball.high) == (-math.inf, math.inf)
    assert isinstance(make_method("sd").source(0.0, 1.0), AsIs)


@pytest.mark.parametrize(
    "options",
    [{"eps": "-0.1"}, {"steps": "-1"}, {"step_size": "0"}, {"restarts": "0"}, {"attack_mode": "both"},
     {"start": "corner"}, {"norm": "l7"}],
)  # fmt: skip
def test_fields_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make_method("at", options)


def test_no_radius_and_one_larger_than_the_range_are_refused() -> None:
    with pytest.raises(InputError, match="AT needs a training radius"):
        make_method("at").source(0.0, 1.0)
    with pytest.raises(InputError, match="larger than the whole input range"):
        make_method("at").with_radius(1.5).source(0.0, 1.0)
