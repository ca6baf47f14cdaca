"""DHO: its worked number, whose gradient goes where, and a student with two heads saved and opened again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.cli.main import run
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.labels.dho import ALPHAS, BETAS, DHO, best_mixture
from understudy.models.outputs import View
from understudy.models.two_heads import TwoHeads, mixture

T = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
HARD = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
SOFT = torch.tensor([[1.5, 0.2, -0.6], [0.1, 0.9, 0.2], [-0.2, 0.1, 1.1]], dtype=torch.float64)
Y = torch.tensor([0, 1, -1])


def terms(method: us.Objective, hard: Tensor, soft: Tensor, labels: Tensor = Y) -> dict[str, Tensor]:
    student = us.Outputs({"clean": View(hard, heads={"labels": hard, "teacher": soft})})
    batch = us.Batch({"clean": torch.zeros(len(hard), 1)}, torch.arange(len(hard)), labels)
    return dict(method.terms(student, us.Outputs({"clean": View(T)}), batch))


def total(found: dict[str, Tensor]) -> float:
    return float(sum(values.mean() for values in found.values()))


def test_the_worked_number() -> None:
    found = terms(DHO(), HARD, SOFT)
    assert float(found["hard"].mean()) == pytest.approx(0.879886, abs=1e-6)
    assert float(found["soft"].mean()) == pytest.approx(0.039406 + 0.100069, abs=1.5e-6)
    assert total(found) == pytest.approx(1.019361, abs=1e-6)
    assert total(terms(DHO(label_weight=0.5, teacher_weight=0.5), HARD, SOFT)) == pytest.approx(
        0.509681, abs=1e-6
    )
    said = mixture(HARD, SOFT, 0.5, 0.5).softmax(1)
    expected = [
        [0.703898, 0.234580, 0.061522],
        [0.263855, 0.520872, 0.215273],
        [0.159043, 0.141972, 0.698986],
    ]
    assert torch.allclose(said.double(), torch.tensor(expected).double(), atol=1e-6)


def test_each_head_learns_from_its_own_source_alone() -> None:
    hard, soft = HARD.clone().requires_grad_(), SOFT.clone().requires_grad_()
    found = terms(DHO(), hard, soft)
    to_hard, none = torch.autograd.grad(
        found["hard"].sum(), [hard, soft], allow_unused=True, retain_graph=True
    )
    assert none is None
    assert to_hard[:2].any(1).all()
    assert not to_hard[2].any()
    none, to_soft = torch.autograd.grad(found["soft"].sum(), [hard, soft], allow_unused=True)
    assert none is None
    assert to_soft.any(1).all()


def test_weights_of_zero_leave_one_head() -> None:
    assert not terms(DHO(teacher_weight=0.0), HARD, SOFT)["soft"].any()
    assert not terms(DHO(label_weight=0.0), HARD, SOFT)["hard"].any()


def test_a_batch_of_one_kind_has_no_term_of_the_other() -> None:
    none = torch.full((3,), -1)
    assert not terms(DHO(), HARD, SOFT, none)["hard"].any()
    every = terms(DHO(), HARD, SOFT, torch.tensor([0, 1, 2]))["soft"].mean()
    assert torch.allclose(every, terms(DHO(), HARD, SOFT, none)["soft"].mean())


def test_mixtures_are_distributions_and_their_ends_are_the_heads() -> None:
    for alpha in (0.0, 0.3, 1.0):
        said = mixture(HARD, SOFT, alpha, 2.0)
        assert torch.allclose(said.exp().sum(1), torch.ones(3), atol=1e-6)
    assert torch.equal(mixture(HARD, SOFT, 1.0, 2.0), HARD.float().log_softmax(1))
    assert torch.equal(mixture(HARD, SOFT, 0.0, 9.0).argmax(1), SOFT.argmax(1))
    huge = mixture(1e4 * HARD, -1e4 * SOFT, 0.5, 0.5)
    assert huge.isfinite().all()


def test_the_search_keeps_the_first_best() -> None:
    truth = HARD.argmax(1)
    alpha, beta, right = best_mixture(HARD, -SOFT, truth)
    assert right == 1.0
    for a in ALPHAS:
        for b in BETAS:
            said = mixture(HARD, -SOFT, a, b).argmax(1)
            if (said == truth).all():
                assert (alpha, beta) == (a, b)
                return


def test_a_student_with_two_heads_is_saved_opened_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    us.train("digits", "mlp[16]", epochs=1, examples=200, out="t")
    line = "distill --teacher t --model mlp[8] --data digits --method dho --epochs 1 --examples 200 --out s"
    assert run([*line.split(), "--labelled", "40", "--quiet"]) == 0
    opened = us.load("s", data="digits")
    assert opened.config is not None
    assert opened.config.spec == "two_heads[0.5,0.5]:mlp[8]"
    x = us.data.load_data("digits", "test").inputs(slice(0, 5))
    assert torch.allclose(opened.module(x).exp().sum(1), torch.ones(5), atol=1e-5)
    audit = us.audit("t", "s", "digits", points=4, eps=0.05, all_points=True, out="a")
    assert list(audit.record.skipped) == ["FaithUB"]
    assert all(row.upper_mean is None and row.lower_mean is not None for row in audit.summary)
    assert "cannot be bounded yet" in (tmp_path / "a" / "report.html").read_text()
    with pytest.raises(InputError, match="mean of confidences"):
        us.audit("t", "s", "digits", points=4, certify="exact", certificates=True, out="b")


def test_two_heads_start_from_one_embedding() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first = body[2].weight.detach().clone()
    net = TwoHeads(body)
    assert torch.equal(net.heads["labels"].weight, first)
    assert not torch.equal(net.heads["teacher"].weight, first)
    x = torch.randn(5, 3)
    answer = net.train()(x)
    assert sorted(answer.heads) == ["labels", "teacher"]
    assert torch.allclose(net.eval()(x), answer.logits)


def test_what_cannot_be_is_refused() -> None:
    for field, value in (("temperature", "0"), ("alpha", "1.5"), ("beta", "0"), ("label_weight", "-1")):
        with pytest.raises(InputError, match=field):
            make_method("dho", {field: value})
    with pytest.raises(InputError, match="none inside"):
        TwoHeads(nn.Linear(2, 2))
    with pytest.raises(InputError, match="share of a mixture"):
        TwoHeads(nn.Sequential(nn.Linear(2, 2)), alpha=2.0)
    with pytest.raises(InputError, match="beta"):
        mixture(HARD, SOFT, 0.5, 0.0)
    with pytest.raises(InputError, match="needs labels"):
        terms(DHO(), HARD, SOFT, None)  # type: ignore[arg-type]
    from understudy.models.config import ModelConfig
    from understudy.models.two_heads import parse

    for spec in ("two_heads[.5]:mlp", "two_heads[a,b]:mlp", "two_heads[.5,.5]mlp"):
        with pytest.raises(InputError, match="cannot read the model"):
            parse(ModelConfig(spec, (1, 8, 8), 10))


def test_a_users_own_module_is_left_as_it_was_and_two_heads_stay_two() -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    method = DHO(alpha=0.3)
    dressed, spec = method.dress(own, "mlp[8]")
    assert own(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    again, same = method.dress(dressed, spec)
    assert isinstance(again, TwoHeads)
    assert not isinstance(again.body, TwoHeads)
    assert same == spec == "two_heads[0.3,0.5]:mlp[8]"


def test_a_mean_of_confidences_is_not_bounded_and_says_so() -> None:
    from understudy.bounds.trace import trace
    from understudy.models.ensemble import Team

    for net in (TwoHeads(nn.Sequential(nn.Linear(4, 3))), Team([nn.Linear(4, 3)])):
        with pytest.raises(InputError, match="certify none"):
            trace(net, (4,))
