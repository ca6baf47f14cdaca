from __future__ import annotations

import pytest

from understudy.errors import InputError
from understudy.jobs.defaults import default_epochs, default_grid, default_lr, default_radius


def test_named_sets_have_the_radius_of_the_field() -> None:
    assert [default_radius(name) for name in ("digits", "mnist", "fashion_mnist")] == [0.1] * 3
    assert default_radius("cifar10") == 8 / 255
    assert default_grid("digits") == (0.0, 0.025, 0.05, 0.1)


def test_a_set_of_ones_own_states_its_radius() -> None:
    assert default_epochs("mine") == 20
    assert default_lr("mine") == 1e-3
    for ask in (default_radius, default_grid):
        with pytest.raises(InputError, match="'mine' has no customary radius: state eps"):
            ask("mine")


def test_a_graph_has_no_radius() -> None:
    assert (default_epochs("cora"), default_lr("citeseer")) == (200, 1e-2)
    with pytest.raises(InputError, match="'cora' has no customary radius: state eps"):
        default_radius("cora")
