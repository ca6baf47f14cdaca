"""The language whose truth is known, held against closed forms of Markov chains."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.experiments.parts.prompted_language import (
    DistanceFrom,
    PromptedModel,
    as_data,
    different_prompts,
    oracle_of,
    texts_by,
)
from understudy.objectives.tokens import sequence_divergence

Probabilities = list[float]


class Chain(nn.Module):
    """A Markov chain behind a prompt of one symbol that says nothing: its first symbol's law, then a row a symbol."""

    def __init__(self, first: Probabilities, rows: list[Probabilities]) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(first).log())
        self.rows = nn.Parameter(torch.tensor(rows).log())

    def forward(self, tokens: Tensor) -> Tensor:
        first = self.first.expand(len(tokens), 1, -1)
        return torch.cat([first, self.rows[tokens[:, 1:]]], 1)


def closed_form(p: list[Tensor], q: list[Tensor], length: int) -> float:
    """KL between the responses of two chains, each [first law (V,), rows (V, V)]: where p is, times KL of the rows."""
    total = (p[0] * (p[0] / q[0]).log()).sum()
    by_row, place = (p[1] * (p[1] / q[1]).log()).sum(1), p[0]
    for _ in range(length - 1):
        total, place = total + place @ by_row, place @ p[1]
    return float(total)


def laws(chain: Chain) -> list[Tensor]:
    return [chain.first.detach().double().softmax(0), chain.rows.detach().double().softmax(1)]


TRUTH = Chain([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]])
TEACHER = Chain([0.6, 0.4], [[0.8, 0.2], [0.3, 0.7]])
STUDENT = Chain([0.55, 0.45], [[0.85, 0.15], [0.3, 0.7]])


@pytest.mark.parametrize(
    ("one", "other", "length", "worked"),
    [
        (TRUTH, STUDENT, 1, 0.005025), (TEACHER, STUDENT, 1, 0.005094), (TRUTH, TEACHER, 1, 0.020411),
        (TRUTH, STUDENT, 3, 0.040912), (TEACHER, STUDENT, 3, 0.015938), (TRUTH, TEACHER, 3, 0.083381),
    ],
)  # fmt: skip
def test_two_states_in_closed_form(one: Chain, other: Chain, length: int, worked: float) -> None:
    """Golden, proxy and the teacher's own error: worked number, closed form, every response, and a sample of them."""
    exact = closed_form(laws(one), laws(other), length)
    assert exact == pytest.approx(worked, abs=1e-6)
    every = torch.tensor([(0, *rest) for rest in itertools.product((0, 1), repeat=length)])
    counts = torch.arange(length + 1).expand_as(every) < length
    with torch.no_grad():
        chance = one(every)[:, :-1].log_softmax(-1).gather(2, every[:, 1:, None]).sum((1, 2)).double().exp()
        values = sequence_divergence(one(every), other(every), counts).double()
    assert float(chance.sum()) == pytest.approx(1.0)
    assert length * float(chance @ values) == pytest.approx(exact, rel=1e-5)
    drawn = DistanceFrom(
        one, torch.zeros(4000, 1, dtype=torch.int64), length, torch.Generator().manual_seed(0)
    )
    spread = math.sqrt(float(chance @ (values - chance @ values) ** 2) / 4000)
    assert abs(drawn(other) - exact / length) <= 4 * spread + 1e-7


def test_prompted_models_in_closed_form() -> None:
    """With prompts of one symbol a model is a Markov chain for each prompt: the experiment's own distance is exact."""
    one, other = oracle_of(5, 1, (16,), 3.0, 0), oracle_of(5, 1, (16,), 3.0, 1)
    every = torch.cartesian_prod(torch.arange(5), torch.arange(5))  # prompt, last symbol
    rows = [m(every)[:, 1].double().softmax(1).reshape(5, 5, 5) for m in (one, other)]
    first = [m(torch.arange(5)[:, None])[:, 0].double().softmax(1) for m in (one, other)]
    exact = [
        closed_form([first[0][x], rows[0][x]], [first[1][x], rows[1][x]], 6) / 6 for x in range(5)
    ]  # the first symbol comes behind the prompt alone, which is then also the last symbol
    random = torch.Generator().manual_seed(3)
    for prompt, wanted in enumerate(exact):
        distance = DistanceFrom(one, torch.full((3000, 1), prompt), 6, random)
        assert distance(other) == pytest.approx(wanted, rel=0.06)
        assert distance(one) == 0.0


class Plain(nn.Module):
    """The same model, which does not say how it is read piece by piece."""

    def __init__(self, inner: PromptedModel) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens)


def test_what_a_symbol_depends_on() -> None:
    model = oracle_of(7, 3, (16, 16), 4.0, 0)
    texts = torch.randint(0, 7, (20, 12), generator=torch.Generator().manual_seed(1))
    said = model(texts)
    for changed, places in ((11, [11]), (5, [5, 6, 7]), (1, list(range(12)))):
        other = texts.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        moved = (model(other) - said).abs().amax((0, 2)) > 0
        # the window of a place, and the prompt, which every place knows (also those before it is read whole)
        assert moved.nonzero()[:, 0].tolist() == places
    prompts = texts[:, :3]
    written = [texts_by(m, prompts, 9, torch.Generator().manual_seed(2)) for m in (model, Plain(model))]
    assert torch.equal(*written)
    assert torch.equal(written[0][:, :3], prompts)


def test_the_oracle() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    oracle, same, other = (oracle_of(6, 2, (32, 32), 4.0, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    texts = torch.randint(0, 6, (2000, 8))
    assert torch.equal(oracle(texts), same(texts))
    assert not torch.equal(oracle(texts), other(texts))
    assert float(oracle(texts)[:, -1].std(1).mean()) == pytest.approx(4.0, rel=0.1)
    assert not any(p.requires_grad for p in oracle.parameters())


def test_prompts_differ() -> None:
    prompts = different_prompts(60, 4, 3, torch.Generator().manual_seed(0))
    assert prompts.shape == (60, 3)
    assert len(prompts.unique(dim=0)) == 60
    assert (int(prompts.min()), int(prompts.max())) == (0, 3)
    with pytest.raises(InputError, match="65 different prompts"):
        different_prompts(65, 4, 3, torch.Generator())


def test_texts_as_data() -> None:
    texts = torch.tensor([[0, 1, 2, 3, 0], [3, 3, 1, 0, 2]])
    data = as_data(texts, 2, 4)
    assert data.pairs == (("ab", "cda"), ("dd", "bac"))
    assert torch.equal(data.masks(slice(None))["clean"], torch.tensor([[0, 1, 1, 1, 0]] * 2).bool())
    assert (data.classes, data.end, data.tokenizer.size) == (4, None, 4)
    assert as_data(texts, 2, 5).tokenizer.key != data.tokenizer.key
    assert as_data(texts, 2, 30).pairs[0][0] == "<0><1>"
