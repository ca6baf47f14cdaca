from __future__ import annotations

import math

import pytest

from understudy.cli.options import assignments, one_radius, radii
from understudy.errors import InputError


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (None, None),
        ([], None),
        (["0.1"], (0.1,)),
        (["0.1", ".2"], (0.1, 0.2)),
        (["0,1/255,.03"], (0.0, 1 / 255, 0.03)),
        (["0, 2/255", "8/255"], (0.0, 2 / 255, 8 / 255)),
        (["1e-3"], (0.001,)),
        (["-1"], (-1.0,)),  # refused later, by what knows the range
    ],
)
def test_radii(texts: list[str] | None, found: tuple[float, ...] | None) -> None:
    assert radii(texts) == found


@pytest.mark.parametrize("text", ["", "0,", "x", "1/0", "1/2/3", "nan", "inf", "0.1;0.2", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--eps must be a "):
        radii([text])


def test_a_training_has_one_radius() -> None:
    assert one_radius(None) is None
    assert one_radius(["8/255"]) == 8 / 255
    for texts in (["0.1,0.2"], ["0.1", "0.2"]):
        with pytest.raises(InputError, match=r"one radius, found 2: 0\.1"):
            one_radius(texts)
    assert not math.isnan(one_radius(["0"]) or 0.0)


def test_assignments() -> None:
    assert assignments(None) is None
    assert assignments(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for texts, said in [
        (["a"], "field=value, found 'a'"),
        (["=1"], "field=value"),
        (["a=1", "a=2"], "a twice"),
    ]:
        with pytest.raises(InputError, match=said):
            assignments(texts)
