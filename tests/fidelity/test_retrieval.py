"""Search with embeddings, against numpy loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import understudy as us
from understudy.fidelity.retrieval import nearest, place_among, scores, shortened, signs

QUICK = settings(max_examples=25, deadline=None, derandomize=True)


def drawn(seed: int, rows: int, size: int = 4) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@QUICK
@given(st.integers(0, 999))
def test_search_is_by_cosine(seed: int) -> None:
    queries, documents = drawn(seed, 5), drawn(seed + 1, 7)
    table = np.array(
        [
            [np.dot(q, d) / np.linalg.norm(q) / np.linalg.norm(d) for d in documents.numpy()]
            for q in queries.numpy()
        ]
    )
    np.testing.assert_allclose(scores(queries, documents).numpy(), table, atol=1e-12)
    assert nearest(queries, documents).tolist() == table.argmax(1).tolist()
    own = torch.arange(5)
    wanted = [int((row > row[i]).sum()) for i, row in enumerate(table)]
    assert place_among(queries, documents, own).tolist() == wanted


def test_a_space_whose_middle_is_all_the_student_knows_puts_its_own_in_the_middle() -> None:
    documents = drawn(0, 21) + 5
    place = place_among(documents.mean(0, keepdim=True).expand(21, -1), documents, torch.arange(21))
    assert sorted(place.tolist()) == list(range(21))
    assert place_among(documents, documents, torch.arange(21)).tolist() == [0] * 21
    one = documents[:1].expand(4, -1)
    assert (
        place_among(one, one, torch.arange(4)).tolist() == [1] * 4
    )  # three equals: one and a half, rounded down


def test_vectors_are_cut_and_counted_by_their_signs() -> None:
    vectors = torch.tensor([[3.0, 4.0, 9.0], [0.0, -2.0, 1.0]])
    torch.testing.assert_close(shortened(vectors, 2), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert signs(vectors).tolist() == [[1, 1, 1], [1, -1, 1]]


def test_bad_input_is_refused() -> None:
    with pytest.raises(us.InputError, match=r"kept must be 1\.\.4"):
        shortened(drawn(0, 2), 5)
    with pytest.raises(us.InputError, match=r"a document 0\.\.6"):
        place_among(drawn(0, 2), drawn(1, 7), torch.tensor([0, 7]))
    with pytest.raises(us.InputError, match="each of 2 queries"):
        place_among(drawn(0, 2), drawn(1, 7), torch.tensor([0]))
