"""Dense logits: as precise as their type, and never silently infinite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import config

from understudy.errors import InputError
from understudy.teachers.encoding import Dense, FloatName
from understudy.teachers.targets import DenseTargets

ROWS = np.arange(6)
LOGITS = 20 * torch.randn(6, 11, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("dtype", "error", "width"), [("float16", 2.0**-11, 22), ("float32", 0.0, 44)])
def test_logits_come_back_within_the_stated_error(dtype: FloatName, error: float, width: int) -> None:
    encoding = Dense(dtype)
    encoded = encoding.encode(LOGITS, 1.0, ROWS)
    assert encoded.entries.shape == (6, width)
    assert encoding.width(11) == width
    found = encoding.decode(encoded.entries, None, 11)
    assert isinstance(found, DenseTargets)
    assert found.logits.dtype == torch.float32
    assert bool(((found.logits - LOGITS).abs() <= error * LOGITS.abs() + 2.0**-25).all())


def test_log_probabilities_are_at_the_temperature_asked_for() -> None:
    expected = torch.log_softmax(LOGITS.double() / 4, 1).float()
    torch.testing.assert_close(DenseTargets(LOGITS).log_probabilities(4.0), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="temperature must be above 0, found 0"):
        DenseTargets(LOGITS).log_probabilities(0.0)


def test_what_float16_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match=r"1e\+06 does not fit float16: use Dense\('float32'\)"):
        Dense().encode(torch.tensor([[0.0, 1e6]]), 1.0, ROWS[:1])


def test_an_unknown_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # users run without the shape checks of the tests
    with pytest.raises(InputError, match="'float16' or 'float32', found 'int8'"):
        Dense("int8")  # type: ignore[arg-type]
