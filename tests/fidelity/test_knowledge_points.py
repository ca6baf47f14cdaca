"""Knowledge points: the worked number, sets counted by hand, and the ends of every range."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.discarding import ENTROPY_OF_ONE
from understudy.fidelity.knowledge_points import (
    PathLength,
    count_points,
    foreground_cells,
    knowledge_points,
    learning,
    stability,
)


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4


def test_worked_number() -> None:
    maps = torch.tensor([[[0.01, 0.02], [0.05, 0.1]]]).double().log() + ENTROPY_OF_ONE
    expected = torch.tensor([[[-3.186232, -2.493084], [-1.576794, -0.883647]]]).double()
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)
    assert float(maps.mean()) == pytest.approx(-2.034939, abs=1e-6)
    foreground = torch.tensor([[[True, True], [False, False]]])
    points = knowledge_points(maps, foreground)
    assert points.tolist() == [[[True, True], [True, False]]]
    found = count_points(points, foreground)
    assert (found.foreground.mean, found.background.mean) == (2.0, 1.0)
    assert found.share is not None
    assert found.share.mean == pytest.approx(0.666667, abs=1e-6)
    # Hbar - H at the third cell is 0.346574
    assert knowledge_points(maps, foreground, 0.34657).sum() == 3
    assert knowledge_points(maps, foreground, 0.34658).sum() == 2
    assert knowledge_points(maps, foreground, -math.inf).all()
    assert not knowledge_points(maps, foreground, math.inf).any()


def test_worked_number_of_learning() -> None:
    """Three images whose points are most at lengths 0.2, 0.5 and 0.9."""
    points = torch.zeros(4, 3, 2, 2, dtype=torch.bool)
    points[0, 0, 0] = points[1, 1, 0] = points[3, 2, 0] = True
    points[:, :, 1] = True  # the background, where all is known, does not count
    points[3, 0, 0] = True  # as many again, later
    foreground = torch.tensor([[True, True], [False, False]]).expand(3, 2, 2)
    found = learning(points, foreground, torch.tensor([0.2, 0.5, 0.6, 0.9]).double())
    assert found.peaks == (0, 1, 3)
    assert found.mean == pytest.approx(0.533333, abs=1e-6)
    assert found.variance == pytest.approx(0.082222, abs=1e-6)
    assert learning(points[:1], foreground, torch.tensor([0.2])).variance == 0.0


def test_background_is_averaged_by_image_first() -> None:
    """One image with 3 background cells at 0 and one with 1 at 4: Hbar is 2, not 1."""
    maps = torch.tensor([[[1.5, 0.0], [0.0, 0.0]], [[1.5, 1.9], [2.1, 4.0]]])
    foreground = torch.tensor([[[True, False], [False, False]], [[True, True], [True, False]]])
    points = knowledge_points(maps, foreground, 0.2)
    assert points.tolist() == [[[True, True], [True, True]], [[True, False], [False, False]]]
    everything = torch.cat([maps, torch.full((1, 2, 2), 50.0)])
    with_full = torch.cat([foreground, torch.ones(1, 2, 2, dtype=torch.bool)])
    assert torch.equal(knowledge_points(everything, with_full, 0.2)[:2], points)


def test_counts_against_loops() -> None:
    points, foreground = drawn(0, 7, 4, 4), drawn(1, 7, 4, 4)
    points[2] = False
    sets = [{(i, j) for i in range(4) for j in range(4) if one[i, j]} for one in points]
    inside = [{(i, j) for i in range(4) for j in range(4) if one[i, j]} for one in foreground]
    found = count_points(points, foreground)
    fg = [len(a & b) for a, b in zip(sets, inside, strict=True)]
    bg = [len(a - b) for a, b in zip(sets, inside, strict=True)]
    assert found.foreground.mean == pytest.approx(np.mean(fg))
    assert found.background.mean == pytest.approx(np.mean(bg))
    assert found.background.error == pytest.approx(np.std(bg, ddof=1) / math.sqrt(7))
    assert found.share is not None
    assert found.share.mean == pytest.approx(
        np.mean([a / (a + b) for a, b in zip(fg, bg, strict=True) if a + b])
    )
    assert found.share.count == 6
    assert count_points(points[2:3], foreground[2:3]).share is None


def test_stability_against_sets() -> None:
    points, where = drawn(2, 5, 6, 3, 3), drawn(3, 6, 3, 3)
    points[:, 4] = False
    rho = []
    for i in range(6):
        sets = [set(torch.nonzero((points[k, i] & where[i]).flatten()).flatten().tolist()) for k in range(5)]
        if set.union(*sets):
            rho.append(len(sets[-1]) / len(set.union(*sets)))
    found = stability(points, where)
    assert found is not None
    assert (found.mean, found.count) == (pytest.approx(np.mean(rho)), len(rho))
    growing = points.cumsum(0) > 0
    kept = stability(growing)
    assert kept is not None
    assert (kept.mean, kept.count) == (1.0, 5)
    forgotten = torch.cat([points, torch.zeros(1, 6, 3, 3, dtype=torch.bool)])
    lost = stability(forgotten)
    assert lost is not None
    assert lost.mean == 0.0
    assert stability(torch.zeros(2, 6, 3, 3, dtype=torch.bool)) is None


def test_masks_become_cells() -> None:
    mask = torch.zeros(1, 7, 7, dtype=torch.bool)
    mask[0, :3, :4] = True
    assert foreground_cells(mask, 7).equal(mask)
    # rows 0..3 and 4..6, columns 0..3 and 4..6: 12 of 16 pixels in the first cell
    assert foreground_cells(mask, 2).tolist() == [[[True, False], [False, False]]]
    half = torch.tensor([[[True, False], [True, False]]])
    assert foreground_cells(half, 1).tolist() == [[[True]]]


def test_the_paths_length() -> None:
    path = PathLength()
    weights = torch.tensor([[3.0, 4.0]])
    assert path.update(weights) == 0.0
    weights += torch.tensor([[0.0, 5.0]])  # in place, as training does
    assert path.update(weights) == pytest.approx(1.0)
    assert path.update(weights - torch.tensor([[0.0, 5.0]])) == pytest.approx(2.0)  # back, and not 0
    with pytest.raises(InputError, match=r"shape \(1, 2\), found \(2,\)"):
        path.update(weights[0])
    with pytest.raises(InputError, match="finite"):
        path.update(weights / 0)
    assert path.length == pytest.approx(2.0)
    with pytest.raises(InputError, match="all 0"):
        PathLength().update(torch.zeros(3))


@pytest.mark.usefixtures("plain_types")
def test_bad_input() -> None:
    points, foreground = drawn(0, 4, 3, 2, 2), drawn(1, 3, 2, 2)
    maps, path = torch.rand(3, 2, 2), torch.arange(4.0)
    for call, match in (
        (lambda: knowledge_points(maps, foreground[:2]), r"found \(3, 2, 2\) and \(2, 2, 2\)"),
        (lambda: knowledge_points(maps / 0, foreground), "finite"),
        (lambda: knowledge_points(maps, torch.ones_like(foreground)), "no image has any"),
        (lambda: count_points(points[0][:0], foreground[:0]), "nothing empty"),
        (lambda: learning(points, foreground[:2], path), r"found \(4, 3, 2, 2\) and \(2, 2, 2\)"),
        (lambda: learning(points, foreground, path[:3]), "4 checkpoints need as many path lengths"),
        (lambda: learning(points, foreground, path.flip(0)), "never fall"),
        (lambda: learning(points, foreground, path - 1), "0 or more"),
        (lambda: stability(points[:0]), "nothing empty"),
        (lambda: stability(points, foreground[:1]), "nothing empty"),
        (lambda: foreground_cells(foreground, 3), r"found \(3, 2, 2\), 3"),
    ):
        with pytest.raises(InputError, match=match):
            call()
