"""CutMixPick: what it reduces to, and that no mixed image has a label."""

from __future__ import annotations

import pytest
import torch

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.objectives.divergences import kl
from understudy.testing import TINY_SHAPE, check_method, tiny_conv, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

INPUTS = torch.rand(8, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 5


def shares(options: dict[str, str], labels: torch.Tensor | None = LABELS) -> dict[str, float]:
    """Each term's mean on one batch."""
    method = make_method("good_data_augmentation", options)
    student, teacher = tiny_conv(seed=2), tiny_mlp(seed=1)
    player = Player(student, teacher, method, method.source(0.0, 1.0), TrainingSettings())
    random = Randomness(0)
    random.begin(0)
    with player:
        found = player.contribute(us.Batch({"clean": INPUTS}, torch.arange(8), labels), 8, random)
    return {name: value.item() for name, value in found.items()}


def test_without_the_augmented_batch_it_is_distillation() -> None:
    found = shares({"w3": "0"})
    student, teacher = tiny_conv(seed=2).train()(INPUTS), tiny_mlp(seed=1)(INPUTS)
    assert found["augmented"] == 0
    assert found["soft"] == pytest.approx(0.9 * 16 * kl(teacher, student, 4.0).mean().item(), rel=1e-5)
    hard = torch.nn.functional.cross_entropy(student, LABELS).item()
    assert found["hard"] == pytest.approx(0.1 * hard, rel=1e-5)


def test_the_same_images_again_are_a_second_term_of_the_same_weight() -> None:
    found = shares({"augmentation": "identity", "runs": "1"})
    assert found["augmented"] == pytest.approx(found["soft"], rel=1e-6)
    assert found["soft"] > 0.01


def test_labels_are_read_by_the_hard_term_alone() -> None:
    found, other = shares({}), shares({}, LABELS.roll(1))
    assert found["augmented"] == other["augmented"]
    assert found["hard"] != other["hard"]
    assert set(shares({"gamma": "0"}, None)) == {"soft", "augmented"}


def test_what_is_picked_changes_the_augmented_term_alone() -> None:
    most, least, plain = shares({}), shares({"keep": "least"}), shares({"runs": "1"})
    assert most["soft"] == least["soft"] == plain["soft"]
    assert len({most["augmented"], least["augmented"], plain["augmented"]}) == 3


@pytest.mark.parametrize(
    "options", [{"runs": "1", "augmentation": "cutout"}, {"score": "student", "gamma": "0"}]
)
def test_its_variants_pass_the_battery(options: dict[str, str]) -> None:
    held = check_method(make_method("cutmixpick", options), backend="eager")
    assert ("refused" in held["split"]) == ("runs" not in options)


def test_micro_batches_are_refused_where_examples_are_mixed() -> None:
    def player(options: dict[str, str]) -> Player:
        method = make_method("cutmixpick", options)
        return Player(tiny_conv(), tiny_mlp(), method, method.source(0, 1), TrainingSettings(accumulate=2))

    player({"runs": "1", "augmentation": "flip"})
    with pytest.raises(us.InputError, match="use accumulate=1"):
        player({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": "0"}, "runs must be 1 or more"),
        ({"temperature": "0"}, "temperature must be"),
        ({"alpha": "-1"}, "alpha must be"),
        ({"augmentation": "autoaugment"}, "autoaugment"),
        ({"hole": "2"}, "hole must be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(us.InputError, match=message):
        make_method("cutmixpick", options)


def test_unbounded_data_are_filled_with_zero() -> None:
    source = make_method("cutmixpick").source(float("-inf"), float("inf"))
    assert source.augmentation.fill == 0.0
