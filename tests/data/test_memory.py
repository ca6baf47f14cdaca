from __future__ import annotations

import pytest
import torch

import understudy as us
from understudy.data.memory import Memory


def test_what_is_noted_comes_back_by_example_and_the_newest_counts() -> None:
    memory = Memory()
    assert memory.recall(torch.tensor([0, 1])) == {}
    memory.note(torch.tensor([5, 2]), {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    memory.note(torch.tensor([2]), {"a": torch.tensor([[7.0, 8.0]])})
    memory.note(torch.tensor([900]), {"a": torch.tensor([[9.0, 9.0]]), "b": torch.tensor([1.0])})
    found = memory.recall(torch.tensor([2, 900, 5]))
    assert found["a"].tolist() == [[7.0, 8.0], [9.0, 9.0], [1.0, 2.0]]
    assert found["b"][1] == 1.0
    assert found["b"].isnan().tolist() == [True, False, True]


def test_an_example_without_a_past_is_nan_and_a_batch_without_one_is_empty() -> None:
    memory = Memory()
    memory.note(torch.tensor([3]), {"a": torch.ones(1, 2)})
    assert memory.recall(torch.tensor([3, 0, 10**6]))["a"].isnan().all(1).tolist() == [False, True, True]
    assert memory.recall(torch.tensor([0, 10**6])) == {}


def test_what_is_recalled_or_noted_is_a_copy_without_a_graph() -> None:
    memory, values = Memory(), torch.ones(2, 2, requires_grad=True)
    memory.note(torch.tensor([0, 1]), {"a": 2 * values})
    found = memory.recall(torch.tensor([0, 1]))["a"]
    assert not found.requires_grad
    found.zero_()
    assert memory.recall(torch.tensor([0]))["a"].tolist() == [[2.0, 2.0]]


def test_a_state_carries_on_where_it_was() -> None:
    memory, other = Memory(), Memory()
    memory.note(torch.tensor([1]), {"a": torch.ones(1, 2)})
    other.restore(memory.state())
    memory.note(torch.tensor([1]), {"a": torch.zeros(1, 2)})
    assert other.recall(torch.tensor([1]))["a"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(1, 3), r"must have the shape \(1, 2\), found \(1, 3\)"),
        (torch.tensor([[1.0, torch.nan]]), "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(rows: torch.Tensor, message: str) -> None:
    memory = Memory()
    memory.note(torch.tensor([1]), {"a": torch.ones(1, 2)})
    with pytest.raises(us.InputError, match=message):
        memory.note(torch.tensor([1]), {"a": rows})


def test_not_one_row_an_example_is_refused() -> None:
    with pytest.raises((us.InputError, TypeError)):
        Memory().note(torch.tensor([1]), {"a": torch.ones(2, 2)})
