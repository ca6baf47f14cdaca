"""Small embedders: pooling by hand, TF-IDF and SVD by scikit-learn, columns, bad input."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

import understudy as us
from understudy.data.ngrams import padded
from understudy.models.embedder import Columns, Embedder, Unit, linear_bag

TEXTS = ["a red fox", "the red red car", "a car and a fox", "the sea", "red sea and blue sea"]


def test_pooling_is_the_mean_of_the_tokens_that_are_there() -> None:
    torch.manual_seed(0)
    net = Embedder(5, 3, 2, normalize=False)
    table = net.tokens.weight
    found = net.pooled(torch.tensor([[2, 5, 5, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))
    torch.testing.assert_close(found, torch.stack([(table[2] + 2 * table[5]) / 3, 0 * table[1], table[1]]))
    assert net(torch.tensor([[2.0, 0.0]])).shape == (1, 2)


def test_padding_changes_nothing_and_unit_vectors_have_length_one() -> None:
    torch.manual_seed(0)
    net = Embedder(9, 4, 3, hidden=(5,))
    rows = torch.tensor([[1, 2, 3], [4, 0, 0]])
    wide = torch.cat([rows, torch.zeros(2, 4, dtype=torch.int64)], 1)
    torch.testing.assert_close(net(rows), net(wide))
    torch.testing.assert_close(net(rows).norm(dim=1), torch.ones(2))
    assert Unit()(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


def test_a_bag_of_fixed_vectors_is_tfidf_and_a_truncated_svd() -> None:
    words = TfidfVectorizer(token_pattern=r"\w+").fit(TEXTS)
    svd = TruncatedSVD(3, random_state=0).fit(words.transform(TEXTS))
    expected = normalize(svd.transform(words.transform(TEXTS)))
    net = linear_bag(torch.tensor(words.idf_[:, None] * svd.components_.T, dtype=torch.float32))
    split = words.build_analyzer()
    rows = padded([[words.vocabulary_[word] + 1 for word in split(text)] for text in TEXTS])
    torch.testing.assert_close(net(rows), torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=1e-5)


def test_columns_hide_the_rest_of_a_row() -> None:
    net = Columns(torch.nn.Flatten(), 1, 3)
    assert net(torch.arange(8.0).view(2, 4)).tolist() == [[1, 2], [5, 6]]
    with pytest.raises(us.InputError, match="must have 3 columns, found 2"):
        net(torch.zeros(1, 2))


def test_bad_input_is_refused() -> None:
    with pytest.raises(us.InputError, match="0 <= start < stop"):
        Columns(torch.nn.Flatten(), 2, 2)
    with pytest.raises(us.InputError, match="sizes must be 1 or more"):
        Embedder(0, 3, 2)
    with pytest.raises(us.InputError, match="need a size"):
        Embedder(4, 3, None, hidden=(2,))
    with pytest.raises(us.InputError, match=r"tokens must be 0\.\.4, found 0\.\.5"):
        Embedder(4, 3, 2)(torch.tensor([[5, 0]]))
