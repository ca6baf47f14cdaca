"""L2D as a method: its loss against the formula, what it reduces to, and what it is trained on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.data import DataSet
from understudy.methods import make_method
from understudy.models.outputs import Outputs, View
from understudy.objectives.label_relations import class_relation, instance_relation
from understudy.testing import check_method, tiny_labels

Y = torch.randint(2, (8, 5), generator=torch.Generator().manual_seed(0))
INPUTS = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
DATA = DataSet("several", "train", INPUTS, Y, 5)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def said(seed: int, width: int) -> Outputs:
    return Outputs(
        {"clean": View(2 * drawn(8, 5, seed=seed), {"per_label": drawn(8, 5, width, seed=seed + 9)})}
    )


def terms(options: dict[str, str], student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    batch = us.Batch({"clean": INPUTS}, torch.arange(8), Y)
    return dict(make_method("l2d_multi_label", options).terms(student, teacher, batch))


def test_the_loss_is_the_released_codes_over_the_batch() -> None:
    """Its conventions, written out: cross-entropy, CD and ID are summed, the divergence is a mean over the batch."""
    student, teacher = said(1, 3), said(2, 4)
    s, t = student.logits.sigmoid(), teacher.logits.sigmoid()
    bce = F.binary_cross_entropy(s, Y.double(), reduction="sum")
    mld = (t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()).sum() / 8
    embeddings = teacher.features["per_label"], student.features["per_label"]
    whole = bce + 10 * mld
    whole = (
        whole + 100 * class_relation(*embeddings, Y).sum() + 1000 * instance_relation(*embeddings, Y).sum()
    )
    found = terms({}, student, teacher)
    assert set(found) == {"labels", "hard", "class", "instance"}
    assert torch.stack(list(found.values())).sum(0).mean().item() == pytest.approx(whole.item() / 8, rel=1e-9)


def test_weights_of_nothing_leave_their_terms_and_the_embeddings_out() -> None:
    bare = Outputs({"clean": View(drawn(8, 5, seed=1))})
    plain = {"lambda_cd": "0", "lambda_id": "0"}
    assert set(terms(plain, bare, bare)) == {"labels", "hard"}
    assert make_method("l2d", plain).needs.features == ()
    assert set(terms({**plain, "hard_weight": "0"}, bare, bare)) == {"labels"}
    assert terms({**plain, "lambda_mld": "0"}, bare, said(2, 4))["labels"].abs().max() == 0
    with pytest.raises(us.InputError, match="lambda_cd must be"):
        make_method("l2d", {"lambda_cd": "-1"})


@pytest.mark.parametrize(
    "options", [{"lambda_cd": "0", "lambda_id": "0"}, {"hard_weight": "0", "lambda_cd": "1"}]
)
def test_its_variants_pass_the_battery(options: dict[str, str]) -> None:
    check_method(make_method("l2d", options), backend="eager")


def test_the_battery_draws_several_labels_and_holds_zero_to_them() -> None:
    held = check_method(make_method("bce"), backend="eager")
    assert held["equality"] == "hard: zero at the right label, not zero at a wrong one"


def test_training_follows_the_teachers_distances_and_names_what_it_measures() -> None:
    teacher = tiny_labels(seed=1).eval()
    taps = {"per_label": ("mid", "mid")}
    run = us.distill(
        teacher,
        tiny_labels(seed=2),
        DATA,
        method="l2d",
        taps=taps,
        epochs=60,
        lr=0.02,
        batch_size=8,
        device="cpu",
    )
    first, last = run.curves[0], run.curves[-1]
    assert last["loss_instance"] < 0.5 * first["loss_instance"]
    assert last["loss_class"] < 0.7 * first["loss_class"]
    assert {"train_map", "agreement"} <= set(last)
    assert "train_accuracy" not in last


def test_data_and_methods_that_do_not_go_together_are_refused() -> None:
    single = DataSet("single", "train", INPUTS, torch.arange(8) % 5, 5)
    with pytest.raises(
        us.InputError, match="'several' bears several labels an example, method 'ce' needs one"
    ):
        us.train(DATA, tiny_labels())
    with pytest.raises(
        us.InputError, match="'single' bears one label an example, method 'bce' needs several"
    ):
        us.train(single, tiny_labels(), method="bce")
    with pytest.raises(us.InputError, match="give either robust, found 'pgd', or a method"):
        us.train(single, tiny_labels(), robust="pgd", method="bce")
    with pytest.raises(us.InputError, match="per_label"):
        us.distill(tiny_labels(), nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), DATA, method="l2d")
