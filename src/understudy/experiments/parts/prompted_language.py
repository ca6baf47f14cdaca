"""A language in which every distribution is known: prompts, an oracle that answers them, and models that learn it.

A text is a prompt of P symbols and a response of L. The next symbol depends on the whole prompt and on the last P
symbols, by a perceptron (a neural n-gram model that does not forget its prompt). The oracle is such a network with
random weights: it says what is true, so that any model's distance to the truth can be had exactly at any place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.data.batch import CLEAN
from understudy.data.cache import content_key
from understudy.data.text import TokenSet
from understudy.data.token_rows import Pair, Tokens
from understudy.data.tokenizers import Tokenizer
from understudy.errors import InputError
from understudy.models.language import Reader, reader_of
from understudy.models.language_sampling import continued
from understudy.models.look import in_mode
from understudy.objectives.tokens import sequence_divergence

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class PromptedModel(nn.Module):
    """Tokens (B, n) -> logits (B, n, V), from the first P tokens and the P up to each place.

    What stands before a text's beginning counts as symbol 0. Places inside the prompt are answered, and mean nothing.

    Args:
        vocabulary: V, how many symbols there are.
        prompt: P.
        widths: of the hidden layers, rectified linear units; the first is the sum of a vector a place and symbol.
    """

    def __init__(self, vocabulary: int, prompt: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.vocabulary, self.prompt = vocabulary, prompt
        self.table = nn.EmbeddingBag(2 * prompt * vocabulary, widths[0], mode="sum")
        nn.init.normal_(self.table.weight, std=1.0 / math.sqrt(2 * prompt))
        hidden = [part for one, other in pairwise(widths) for part in (nn.ReLU(), nn.Linear(one, other))]
        self.body = nn.Sequential(*hidden, nn.ReLU(), nn.Linear(widths[-1], vocabulary))
        self.register_buffer("places", vocabulary * torch.arange(2 * prompt), persistent=False)
        self.places: Tensor

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        windows = F.pad(tokens, (self.prompt - 1, 0)).unfold(1, self.prompt, 1)
        given = tokens[:, None, : self.prompt].expand_as(windows)
        read = torch.cat([given, windows], 2) + self.places
        logits: Tensor = self.body(self.table(read.flatten(0, 1))).unflatten(0, tokens.shape)
        return logits

    def reader(self) -> Reader:
        """A fresh reader, which starts with a prompt at least and keeps what the next symbol depends on."""
        kept = torch.empty(0)

        def read(tokens: Tensor) -> Tensor:
            nonlocal kept
            if not len(kept):
                logits: Tensor = self(tokens)
                kept = torch.cat([tokens[:, : self.prompt], tokens[:, -self.prompt :]], 1)
                return logits
            said = []
            for token in tokens.split(1, 1):
                kept = torch.cat([kept[:, : self.prompt], kept[:, self.prompt + 1 :], token], 1)
                said.append(self.body(self.table(kept + self.places)))
            return torch.stack(said, 1)

        return read


def oracle_of(
    vocabulary: int, prompt: int, widths: Sequence[int], sharpness: float, seed: int
) -> PromptedModel:
    """The truth: random weights, the logits' standard deviation over the symbols `sharpness` on average."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        oracle = PromptedModel(vocabulary, prompt, widths)
        anywhere = torch.randint(0, vocabulary, (1000, 2 * prompt))
        stretch = sharpness / oracle(anywhere)[:, -1].std(1).mean()
        last = oracle.body[-1]
        assert isinstance(last, nn.Linear)
        for part in (last.weight, last.bias):
            part.mul_(stretch)
    return oracle.requires_grad_(False).eval()


def different_prompts(
    count: int, vocabulary: int, prompt: int, random: torch.Generator
) -> Int[Tensor, "n p"]:
    """`count` prompts (n, P), no two alike. InputError if there are not that many."""
    there = vocabulary**prompt
    if count > there:
        raise InputError(
            f"{count} different prompts are asked for, {vocabulary} symbols at {prompt} places make {there}"
        )
    numbers = torch.randperm(there, generator=random)[:count]
    return numbers[:, None] // vocabulary ** torch.arange(prompt) % vocabulary


@torch.no_grad()
def texts_by(
    model: nn.Module, prompts: Int[Tensor, "n p"], length: int, random: torch.Generator
) -> Int[Tensor, "n l"]:
    """The prompts, each with a response of `length` symbols written by the model at temperature 1: (n, P + length)."""
    count, begin = prompts.shape
    empty = torch.cat([prompts, torch.zeros(count, length, dtype=torch.int64)], 1)
    drawn = torch.rand(empty.shape, generator=random)
    with in_mode(model, False):
        return continued(reader_of(model), empty, torch.full((count,), begin), drawn)[0]


def as_data(texts: Int[Tensor, "n l"], prompt: int, vocabulary: int) -> TokenSet:
    """Texts as a data set; what counts is the response."""
    count, length = texts.shape
    symbols = Symbols(str(vocabulary), None, 0)
    places = torch.arange(length)
    behind = torch.where((places >= prompt - 1) & (places < length - 1), places - prompt + 1, -1)
    tokens = Tokens(
        texts, torch.full((count,), prompt), torch.full((count,), length), behind.repeat(count, 1), symbols
    )
    pairs = tuple(Pair(symbols.decode(row[:prompt]), symbols.decode(row[prompt:])) for row in texts.tolist())
    return TokenSet(
        "prompted language", "train", texts, classes=vocabulary, low=0.0, high=vocabulary - 1.0, pairs=pairs,
        tokens={CLEAN: tokens}, closed=False,
    )  # fmt: skip


class Symbols(Tokenizer):
    """A tokenizer of as many symbols as its description says, written as letters; no text is ever cut by it."""

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return int(self.description)

    @property
    def key(self) -> str:
        """SHA-256 of how many there are."""
        return content_key(["symbols", self.description])

    def decode(self, tokens: Sequence[int]) -> str:
        """A letter a symbol, and the symbol's number where letters do not suffice."""
        return "".join(LETTERS[one] if self.size <= len(LETTERS) else f"<{one}>" for one in tokens)


class DistanceFrom:
    """E over texts y of a model p of (1 / L) sum over t of KL(p(. | x, y_<t) || q(. | x, y_<t)), nats a symbol.

    By the chain rule it is the divergence between the two models' responses, over L. Texts are drawn once, from p, on
    prompts (n, P); at each place the divergence is exact, so that another q is compared on the same texts.
    """

    def __init__(
        self, model: nn.Module, prompts: Int[Tensor, "n p"], length: int, random: torch.Generator
    ) -> None:
        self.texts = texts_by(model, prompts, length, random)
        places = torch.arange(self.texts.shape[1])  # each asked for the symbol behind it
        inside = (places >= prompts.shape[1] - 1) & (places < len(places) - 1)
        self.counts = inside.expand_as(self.texts)
        self.said = said_by(model, self.texts)

    def __call__(self, model: nn.Module) -> float:
        """How far `model` is from the one that wrote the texts, in [0, inf); 0 for that one itself."""
        values = sequence_divergence(self.said, said_by(model, self.texts), self.counts)
        return values.double().mean().item()


@torch.no_grad()
def said_by(model: nn.Module, texts: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
    """A model's logits on the CPU, without a gradient, in eval mode."""
    device = next(model.parameters()).device
    with in_mode(model, False):
        logits: Tensor = model(texts.to(device))
    return logits.cpu()
