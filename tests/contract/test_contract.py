"""The battery over the whole catalogue, over objectives and sums, and over a user's own method."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest
import torch.nn.functional as F

import understudy as us
from understudy.methods import CATALOGUE, make_method
from understudy.testing import CHECKS, check_method


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_method_of_the_catalogue_passes_every_check(name: str) -> None:
    assert list(check_method(make_method(name))) == list(CHECKS)


OPTIONS = [
    ("kd", {"alpha": "0.5", "temperature": "4"}),
    ("ard", {"alpha": "0.5", "attack_mode": "train", "norm": "l2", "eps": "0.5"}),
    ("iad", {"alpha": "0.5", "form": "code", "temperature": "3"}),
    ("faithful_kd", {"alpha": "0.5", "hard_weight": "0.3", "restarts": "2"}),
    ("adaad", {"alpha": "2/3", "eps": "0"}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_options_that_add_terms_pass_too(name: str, options: dict[str, str]) -> None:
    check_method(make_method(name, options), seed=1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code generator
@pytest.mark.parametrize("name", ["kd", "iad"])
def test_inductor_equals_eager(name: str) -> None:
    assert check_method(make_method(name), backend="inductor")["compiled"] == "inductor equals eager"


def test_two_classes_pass() -> None:
    check_method(make_method("ard"), classes=2)


def test_a_sum_is_checked_as_a_whole_and_part_by_part() -> None:
    held = check_method(0.1 * us.CrossEntropy() + 0.9 * make_method("fd"))
    assert held["equality"] == "by each objective of the sum"
    assert held["accumulation"] == "micro-batches add up to the whole"


@dataclass(frozen=True)
class GramMatch(us.Method):
    """Match the batch's similarity matrix. Features: (N, ...) -> (N, D)."""

    needs = us.Needs(features=("mid",), whole_batch=True)

    def terms(self, student, teacher, batch):
        s = F.normalize(student.features["mid"].flatten(1), dim=1)  # (N, Ds)
        t = F.normalize(teacher.features["mid"].flatten(1), dim=1)  # (N, Dt)
        return {"gram": (s @ s.T - t @ t.T).square().mean(1)}  # (N,)


def test_a_users_own_method_passes_as_the_guide_shows_it() -> None:
    held = check_method(GramMatch())
    assert "refused" in held["accumulation"]
    assert "micro-batches refused" in held["teacher is a guest"]


def test_a_feature_may_be_another_layer_of_the_tiny_model() -> None:
    check_method(us.SoftTargets() + 0.5 * GramMatch(), taps={"mid": "norm"})
