"""MEAL V2: its worked number, the linearity that averaging logits would break, and both forms of its game."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import understudy as us
from understudy.cli.main import run
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.teams.meal_v2 import MEALV2, Discriminator, told_apart
from understudy.models.outputs import View

T1 = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
T2 = torch.tensor([[1, 1, 0], [0.5, 0.5, 0.5], [0, -1, 2]], dtype=torch.float64)
S = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)


def terms(
    method: us.Objective, s: Tensor, heads: list[Tensor], own: nn.Module | None = None
) -> dict[str, Tensor]:
    team = View(heads[0], heads={str(i): head for i, head in enumerate(heads)})
    batch = us.Batch({"clean": torch.zeros(len(s), 1)}, torch.arange(len(s)), auxiliary=own)
    return dict(method.terms(us.Outputs({"clean": View(s)}), us.Outputs({"clean": team}), batch))


def test_the_worked_numbers() -> None:
    similarity = terms(MEALV2(weight=0.0), S, [T1, T2])["similarity"]
    assert float(similarity.mean()) == pytest.approx(0.919876, abs=1e-6)
    student = torch.tensor([[0.2, 0.0], [0.1, 0.3], [0.0, 0.4]])
    teacher = torch.tensor([[0.0, 0.5], [0.3, 0.1], [0.2, 0.2]])
    assert float(told_apart(student, teacher).mean()) == pytest.approx(0.704871, abs=1e-6)
    zeros = torch.zeros(3, 2)
    assert float(told_apart(zeros, zeros).mean()) == pytest.approx(0.693147, abs=1e-6)
    reference = nn.functional.binary_cross_entropy_with_logits(
        torch.cat([student, teacher]), torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    )
    assert torch.allclose(told_apart(student, teacher).mean(), reference)


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_the_ensembles_loss_is_the_mean_of_its_members(seed: int, members: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heads = [3 * torch.randn(4, 5, generator=generator, dtype=torch.float64) for _ in range(members)]
    s = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    whole = terms(MEALV2(weight=0.0), s, heads)["similarity"]
    single = [terms(MEALV2(weight=0.0), s, [head])["similarity"] for head in heads]
    assert torch.allclose(whole, torch.stack(single).mean(0))
    (gradient,) = torch.autograd.grad(whole.sum(), s)
    mean = torch.stack([head.softmax(1) for head in heads]).mean(0)
    assert torch.allclose(gradient, s.softmax(1) - mean)


def test_the_forms_differ_in_the_sign_at_the_student_alone() -> None:
    torch.manual_seed(0)
    own = Discriminator(3).double()
    found = {}
    for form in ("reversal", "code"):
        s = S.clone().requires_grad_()
        told = terms(MEALV2(form=form), s, [T1, T2], own)["told"]  # type: ignore[arg-type]
        found[form] = (told, torch.autograd.grad(told.sum(), [s, *own.parameters()]))
    assert torch.equal(found["reversal"][0], found["code"][0])
    (a, *ours), (b, *theirs) = found["reversal"][1], found["code"][1]
    assert a.any()
    assert torch.equal(a, -b)
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


def test_the_discriminator_sees_what_softmax_does_not() -> None:
    torch.manual_seed(0)
    own, method = Discriminator(3).double(), MEALV2()
    one, other = (terms(method, s, [T1, T2], own) for s in (S, S + 1.0))
    assert torch.allclose(one["similarity"], other["similarity"])
    assert not torch.allclose(one["told"], other["told"])


def test_labels_have_no_part_in_it() -> None:
    teachers = [us.train("digits", "mlp[12]", epochs=1, examples=150, seed=seed).student for seed in (0, 1)]
    data = us.data.load_data("digits", "train").take(150)
    assert data.labels is not None
    from dataclasses import replace

    from understudy.models.ensemble import Team

    runs = [
        us.distill(Team(teachers).eval(), "mlp[6]", each, method="meal_v2", epochs=2, device="cpu").student
        for each in (data, replace(data, labels=data.labels.flip(0)))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(run.state_dict().values() for run in runs), strict=True))


def test_two_run_folders_make_a_team_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        us.train("digits", "mlp[12]", epochs=1, examples=150, seed=seed, out=f"t{seed}")
    line = "distill --teacher t0;t1 --model mlp[6] --data digits --method meal_v2 --epochs 1 --examples 150 --out s"
    assert run([*line.split(), "--quiet"]) == 0
    assert (tmp_path / "s" / "model.safetensors").is_file()
    assert (tmp_path / "s" / "players" / "auxiliary.safetensors").is_file()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="weight"):
        make_method("meal_v2", {"weight": "-1"})
    with pytest.raises(InputError, match="form"):
        make_method("meal_v2", {"form": "released"})
    teacher = us.train("digits", "mlp[8]", epochs=1, examples=100).student
    with pytest.raises(InputError, match="several teachers"):
        us.distill(teacher, "mlp[6]", "digits", method="meal_v2", epochs=1, examples=100)
