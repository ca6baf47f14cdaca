"""What an audit leaves out for want of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.auditing.settings import AuditSettings
from understudy.auditing.skipped import measurable
from understudy.errors import InputError
from understudy.models.estimators import Tree
from understudy.models.opening import LoadedModel, open_model


@pytest.fixture(scope="module")
def pair() -> tuple[LoadedModel, LoadedModel]:
    """A network and a tree of one question."""
    tree = Tree.fit(torch.tensor([[0.0], [1.0]]), torch.eye(2, dtype=torch.float64))
    return open_model(nn.Linear(1, 2)), open_model(nn.Sequential(tree))


def test_networks_keep_their_settings(pair: tuple[LoadedModel, LoadedModel]) -> None:
    settings = AuditSettings(eps=(0.1,), certify="exact")
    assert measurable(pair[0], pair[0], settings) == (settings, {})


def test_a_tree_on_either_side_leaves_radius_zero(pair: tuple[LoadedModel, LoadedModel]) -> None:
    settings = AuditSettings(eps=(0.1, 0.2), certify="exact", points=7, seed=3)
    for teacher, student, who in (
        (*pair, "the student is tree[3,1]"),
        (*pair[::-1], "the teacher is tree[3,1]"),
    ):
        found, skipped = measurable(teacher, student, settings)
        assert found == AuditSettings(eps=(0.0,), certify="none", points=7, seed=3)
        assert list(skipped) == ["EmpLB", "FaithUB"]
        assert all(who in why for why in skipped.values())
    both = measurable(pair[1], pair[1], settings)[1]["FaithUB"]
    assert "the teacher is tree[3,1] and the student is tree[3,1]" in both


def test_no_certificate_is_promised(pair: tuple[LoadedModel, LoadedModel]) -> None:
    settings = AuditSettings(eps=(0.1,), certify="alpha", certificates=True)
    with pytest.raises(InputError, match=r"the student is tree\[3,1\]"):
        measurable(*pair, settings)
