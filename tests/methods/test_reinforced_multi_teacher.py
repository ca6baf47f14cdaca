"""RMTS-KD: worked numbers, what the score function promises, and a policy that learns whom to ask."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.methods.teams.reinforced_multi_teacher import Choosing, Policy, ReinforcedMultiTeacher
from understudy.models.ensemble import Team
from understudy.models.memo import Memo
from understudy.models.outputs import View
from understudy.objectives.chosen_teachers import (
    SelectionPolicy,
    chosen_divergence,
    each_teacher,
    log_probability,
    mean_of_chosen,
    policy_states,
    settle_empty,
)
from understudy.objectives.divergences import cross_entropy, kl
from understudy.objectives.partner import Turn
from understudy.objectives.reduction import reduce_terms
from understudy.sources import Cast
from understudy.testing import tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

T = torch.tensor([[2.0, 0.5, -1.0], [0.2, 1.5, 0.3], [-0.5, 0.0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1.0, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2])
IMAGES = (1, 6, 6)


def outputs(logits: Tensor, *heads: Tensor) -> us.Outputs:
    return us.Outputs({"clean": View(logits, heads={str(i): head for i, head in enumerate(heads)})})


def batch(chosen: Tensor, labels: Tensor = LABELS) -> us.Batch:
    count = len(chosen)
    return us.Batch({"clean": torch.zeros(count, 2)}, torch.arange(count), labels, notes={"chosen": chosen})


def loss(method: ReinforcedMultiTeacher, chosen: list[list[float]], *heads: Tensor) -> float:
    terms = method.terms(outputs(S), outputs(T, *heads), batch(torch.tensor(chosen, dtype=torch.float64)))
    return reduce_terms(terms, 3)[0].item()


def policy_gradient(weights: Tensor, bias: Tensor, states: Tensor, chosen: Tensor, reward: Tensor) -> Tensor:
    """sum over the examples of r grad_w ln P, by autograd."""
    w = weights.clone().requires_grad_(True)
    value = (reward * log_probability(states @ w + bias, chosen)).sum()
    return torch.autograd.grad(value, w)[0]


def test_the_worked_numbers() -> None:
    weights, bias = torch.tensor([0.5, -0.2]).double(), torch.tensor(0.1).double()
    states = torch.tensor([[[1.0, 0.5], [0.2, 1.0]]]).double()
    probabilities = (states @ weights + bias).sigmoid()
    torch.testing.assert_close(probabilities, torch.tensor([[0.622459, 0.5]]).double(), rtol=0, atol=6e-7)
    chosen, reward = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([-0.7]).double()
    found = policy_gradient(weights, bias, states, chosen, reward)
    torch.testing.assert_close(found, torch.tensor([-0.194278, 0.217861]).double(), rtol=0, atol=6e-7)
    hard, soft = cross_entropy(S, LABELS).mean().item(), kl(T, S).mean().item()
    assert (hard, soft) == pytest.approx((0.773229, 0.163658), abs=6e-7)
    assert loss(ReinforcedMultiTeacher(), [[1, 0]] * 3, T, -T) == pytest.approx(0.468444, abs=6e-7)


def test_one_teacher_or_all_is_plain_distillation() -> None:
    other = T.flip(0)
    hard = cross_entropy(S, LABELS).mean()
    one = 0.5 * hard + 0.5 * kl(T, S).mean()
    assert loss(ReinforcedMultiTeacher(), [[1, 0]] * 3, T, other) == pytest.approx(one.item())
    both = 0.5 * hard + 0.25 * (kl(T, S) + kl(other, S)).mean()
    assert loss(ReinforcedMultiTeacher(), [[1, 1]] * 3, T, other) == pytest.approx(both.item())
    hot = 0.5 * hard + 0.5 * 16 * kl(T, S, 4.0).mean()
    assert loss(ReinforcedMultiTeacher(temperature=4.0), [[1, 0]] * 3, T, other) == pytest.approx(hot.item())


def test_nobody_chosen_is_everybody_or_the_label_alone() -> None:
    nobody = [[0, 0]] * 3
    everybody = loss(ReinforcedMultiTeacher(), [[1, 1]] * 3, T, T.flip(0))
    assert loss(ReinforcedMultiTeacher(), nobody, T, T.flip(0)) == pytest.approx(everybody)
    alone = loss(ReinforcedMultiTeacher(empty="labels"), nobody, T, T.flip(0))
    assert alone == pytest.approx(cross_entropy(S, LABELS).mean().item())


def test_at_alpha_one_the_teachers_play_no_part() -> None:
    found = {
        loss(ReinforcedMultiTeacher(alpha=1.0), [list(c)] * 3, T, -3 * T) for c in ((0, 1), (1, 1), (0, 0))
    }
    assert len(found) == 1
    assert found.pop() == pytest.approx(cross_entropy(S, LABELS).mean().item())


def test_a_copy_of_the_only_teacher_chosen_changes_nothing_and_one_of_two_does() -> None:
    """Copies count as teachers: the mean stays where every choice is doubled, not where one of two is."""
    heads, ones = torch.stack([T, T.flip(0), T], 1), torch.ones(3, 1).double()
    single = chosen_divergence(heads, S, torch.cat([ones, 0 * ones, 0 * ones], 1))
    torch.testing.assert_close(chosen_divergence(heads, S, torch.cat([ones, 0 * ones, ones], 1)), single)
    pair = chosen_divergence(heads, S, torch.cat([ones, ones, 0 * ones], 1))
    assert not torch.allclose(chosen_divergence(heads, S, torch.cat([ones, ones, ones], 1)), pair, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_lowest_at_the_mean_of_the_chosen(temperature: float) -> None:
    heads = torch.stack([T, T.flip(0), -T], 1)
    teaching = torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 0, 1]]).double()
    best = mean_of_chosen(heads, teaching, temperature).requires_grad_(True)
    value = chosen_divergence(heads, best, teaching, temperature)
    assert torch.autograd.grad(value.sum(), best)[0].abs().max() < 1e-12
    assert (chosen_divergence(heads, S, teaching, temperature) > value).all()


def test_permuted_teachers_permute_the_choices() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    inputs, labels = torch.rand(4, 2, 3, generator=generator), torch.tensor([0, 4, 2, 1])
    policy = SelectionPolicy(6 + 5 + 1, 0.9).double()
    nn.init.normal_(policy.linear.weight, generator=generator)
    order = [2, 0, 1]
    scores = policy(policy_states(inputs, heads, labels, 10.0))
    torch.testing.assert_close(policy(policy_states(inputs, heads[:, order], labels, 10.0)), scores[:, order])


def test_a_state_holds_the_input_the_confidences_and_the_loss_up_to_its_limit() -> None:
    heads = torch.stack([T, 100 * T.flip(1)], 1)
    inputs = torch.arange(6.0).view(3, 1, 2)
    states = policy_states(inputs, heads, LABELS, 10.0)
    assert states.shape == (3, 2, 2 + 3 + 1)
    torch.testing.assert_close(states[:, 0, :2].float(), inputs.flatten(1))
    torch.testing.assert_close(states[:, :, 2:5], heads.softmax(2))
    torch.testing.assert_close(states[:, 0, 5], cross_entropy(T, LABELS))
    assert states[0, 1, 5] == 10.0


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, bias, states (1, 3, 4) and a reward for each of the 2^3 choices."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(4), draw(()), draw(1, 3, 4), draw(8)


def test_over_all_choices_it_is_the_gradient_of_the_expected_reward() -> None:
    weights, bias, states, rewards = problem()
    choices = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).double()
    w = weights.clone().requires_grad_(True)
    probability = log_probability((states @ w + bias).expand(8, -1), choices).exp()
    torch.testing.assert_close(probability.sum(), torch.ones(()).double())
    exact = torch.autograd.grad((probability * rewards).sum(), w)[0]
    weighted = probability.detach() * rewards
    found = policy_gradient(weights, bias, states.expand(8, -1, -1), choices, weighted)
    torch.testing.assert_close(found, exact)
    even = policy_gradient(weights, bias, states.expand(8, -1, -1), choices, probability.detach() * 2.5)
    torch.testing.assert_close(even, torch.zeros_like(even), rtol=0, atol=1e-12)


def test_a_constant_more_for_everybody_changes_nothing_on_average() -> None:
    """1e5 draws: the mean of grad ln P is within three standard errors of 0."""
    weights, bias, states, _ = problem()
    p = (states @ weights + bias).sigmoid()
    chosen = (torch.rand(100_000, 3, generator=torch.Generator().manual_seed(2)).double() < p).double()
    scores = (chosen - p) @ states[0]  # (a - P) s, summed over the teachers
    assert (scores.mean(0).abs() < 3 * scores.std(0) / 100_000**0.5).all()
    assert (scores.std(0) > 0.1).all()


def test_the_usual_reward_moves_and_is_part_of_what_is_saved() -> None:
    policy = SelectionPolicy(2, 0.9)
    first = policy.advantage(torch.tensor([-1.0, -3.0]))
    torch.testing.assert_close(first, torch.tensor([1.0, -1.0]))
    second = policy.advantage(torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(second, torch.tensor([2.0, 2.0]))
    assert policy.state_dict()["baseline"].item() == pytest.approx(0.9 * -2.0)


def stage(method: ReinforcedMultiTeacher, seed: int = 0) -> tuple[Player, us.Batch]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(64, *IMAGES, generator=generator)
    held = us.Batch({"clean": inputs[:16]}, torch.arange(16), torch.randint(5, (16,), generator=generator))
    labels = torch.randint(5, (64,), generator=generator)
    seen = us.Batch({"clean": inputs}, torch.arange(64), labels, 0.5, parts={"validation": held})
    team = Team([tiny_mlp(seed=i) for i in (1, 2, 3)])
    settings = TrainingSettings(optimizer="sgd", lr=0.1)
    return Player(tiny_mlp(seed=4), team, method, method.source(0.0, 1.0), settings), seen


def drawn(method: ReinforcedMultiTeacher, seed: int = 0) -> Tensor:
    player, seen = stage(method)
    random = Randomness(seed)
    random.begin(0)
    with player:
        player.partners.ready(seen, player.cast())
        return player.source.show(seen, player.cast(), random).notes["chosen"]


def test_the_choice_is_drawn_from_the_seed_one_time_in_two_at_first() -> None:
    chosen = drawn(ReinforcedMultiTeacher())
    assert set(chosen.unique().tolist()) == {0.0, 1.0}
    assert abs(chosen.mean().item() - 0.5) < 3 * 0.5 / chosen.numel() ** 0.5
    assert torch.equal(chosen, drawn(ReinforcedMultiTeacher()))
    assert not torch.equal(chosen, drawn(ReinforcedMultiTeacher(), seed=1))
    assert drawn(ReinforcedMultiTeacher(warmup=0.6)).all()


@pytest.mark.parametrize("reward", ["labels", "both", "validated"])
def test_the_reward_is_the_students_after_its_step(reward: str) -> None:
    method = make_method("reinforced_multi_teacher", {"reward": reward})
    player, seen = stage(method)
    with player:
        player.contribute(seen, 64, Randomness(0))
        shown, said, heard = player._last or pytest.fail("nothing was said")
        for group in player.optimizer.param_groups:
            group["lr"] = 0.1
        player.optimizer.step()
        turn = Turn(shown, said, heard, player.cast(), Randomness(0))
        heads = each_teacher(heard["clean"])
        partner = method.partners["policy"]
        assert isinstance(partner, Policy)
        found = partner.rewards(turn, heads)
        logits = player.student(seen.clean)
        assert not torch.allclose(logits, said.logits, atol=1e-4)  # the step is behind us
        expected = -cross_entropy(logits, seen.labels)
        teaching = settle_empty(shown.notes["chosen"], "all")
        if reward != "labels":
            expected = expected - chosen_divergence(heads, logits, teaching)
        if reward == "validated":
            held = seen.parts["validation"]
            right = (player.student(held.clean).argmax(1) == held.labels).float().mean()
            expected = 0.5 * expected + 0.5 * right
    torch.testing.assert_close(found, expected)


def test_teachers_and_a_resting_policy_stay_as_they_are() -> None:
    for warmup, rests in ((0.0, False), (1.0, True)):
        player, seen = stage(ReinforcedMultiTeacher(warmup=warmup))
        assert player.teacher is not None
        before = [p.clone() for p in player.teacher.parameters()]
        with player:
            for step in range(3):
                random = Randomness(0)
                random.begin(step)
                player.contribute(seen, 64, random)
                player.step(0.5)
        assert all(torch.equal(a, b) for a, b in zip(before, player.teacher.parameters(), strict=True))
        policy = player.partners.networks["policy"]
        assert (not any(p.any() for p in policy.parameters())) == rests


class Half(nn.Module):
    """Reads the class off the largest input; certain of a wrong one where it does not know the class."""

    def __init__(self, knows_low: bool) -> None:
        super().__init__()
        self.knows_low = knows_low

    def forward(self, x: Tensor) -> Tensor:
        truth = x.argmax(1)
        said = torch.where((truth < 5) == self.knows_low, truth, (truth + 5) % 10)
        return 6.0 * nn.functional.one_hot(said, 10).float()


def test_it_learns_whom_to_ask() -> None:
    """Each of two teachers knows its half of the classes."""
    method, team = ReinforcedMultiTeacher(policy_lr=0.02), Team([Half(True), Half(False)])
    source, settings = method.source(0.0, 1.0), TrainingSettings(lr=0.03)
    torch.manual_seed(0)
    player, random = Player(nn.Linear(10, 10), team, method, source, settings), Randomness(0)
    generator = torch.Generator().manual_seed(0)
    with player:
        for step in range(150):
            labels = torch.randint(10, (64,), generator=generator)
            inputs = nn.functional.one_hot(labels, 10) + 0.4 * torch.rand(64, 10, generator=generator)
            random.begin(step)
            player.contribute(us.Batch({"clean": inputs}, torch.arange(64), labels, 0.5), 64, random)
            player.step(0.5)
        states = policy_states(
            inputs, torch.stack([member(inputs) for member in team.members], 1), labels, 10.0
        )
        found = player.partners.networks["policy"](states).sigmoid()
    knows = torch.stack([labels < 5, labels >= 5], 1)
    assert found[knows].mean() - found[~knows].mean() > 0.5


def test_what_does_not_fit_is_named() -> None:
    for options, message in (
        ({"alpha": "2"}, "alpha must be from 0 to 1, found 2"),
        ({"reward": "bth"}, "unknown reinforced_multi_teacher.reward 'bth': did you mean both"),
        ({"policy_lr": "0"}, "policy_lr must be"),
        ({"reward": "validated", "validation": "0"}, "needs a share of the data"),
    ):
        with pytest.raises(us.InputError, match=message):
            make_method("reinforced_multi_teacher", options)
    player, seen = stage(ReinforcedMultiTeacher())
    for teacher, message in ((Memo(tiny_mlp(seed=1)), "name two of them"), (None, "needs a teacher")):
        cast = Cast(player.student, teacher, {"policy": SelectionPolicy(42, 0.9)})
        with pytest.raises(us.InputError, match=message):
            Choosing().show(seen, cast, Randomness(0))
    team = Memo(Team([tiny_mlp(seed=1)]))
    cast = Cast(player.student, team, {"policy": SelectionPolicy(42, 0.9)})
    with pytest.raises(us.InputError, match="RMTS-KD needs labels"):
        Choosing().show(us.Batch(seen.views, seen.index), cast, Randomness(0))


def test_the_options_that_change_the_terms_pass_the_battery() -> None:
    options = {"empty": "labels", "reward": "validated", "temperature": "3", "alpha": "0.2"}
    us.testing.check_method(make_method("reinforced_multi_teacher", options))
