"""`TwoHeads`: a network with a head for labels and a head for the teacher, which answers with a mixture of both.

Kang et al., arXiv 2505.07675. As an architecture it is written "two_heads[.5,.5]:mlp[64]": the mixture's share and
sharpness, and the network whose last linear layer becomes two.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.outputs import Answer

LABELS, TEACHER = "labels", "teacher"  # the heads' names


def mixture(
    labels: Float[Tensor, "b c"], teacher: Float[Tensor, "b c"], alpha: float, beta: float
) -> Float[Tensor, "b c"]:
    """ln(alpha softmax(labels) + (1 - alpha) softmax(teacher / beta)): logits whose softmax is the mixture.

    Raises:
        InputError: alpha outside [0, 1], or beta not above 0.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"the share of a mixture must lie in [0, 1], found {alpha}")
    if not (math.isfinite(beta) and beta > 0):
        raise InputError(f"beta must be a finite number above 0, found {beta}")
    own, taught = labels.float().log_softmax(-1), (teacher.float() / beta).log_softmax(-1)
    if alpha in (0, 1):
        return own if alpha else taught
    return torch.logaddexp(own + math.log(alpha), taught + math.log1p(-alpha))


class TwoHeads(nn.Module):
    """A classifier whose last linear layer is there twice, on one embedding.

    In train mode it gives an `Answer` with the heads "labels" and "teacher"; in eval mode the mixture's logits alone.

    Args:
        body: a network that ends in a linear layer; its weights are the first head's, the second's are drawn anew.
        alpha, beta: of `mixture`.

    Raises:
        InputError: there is no linear layer, or alpha or beta is out of range.
    """

    def __init__(self, body: nn.Module, alpha: float = 0.5, beta: float = 0.5) -> None:
        super().__init__()
        probe = torch.zeros(1, 2)
        mixture(probe, probe, alpha, beta)
        linear = [name for name, part in body.named_modules() if isinstance(part, nn.Linear)]
        if not linear or not linear[-1]:
            raise InputError(
                "two heads take the place of a network's last linear layer, and this one has none inside"
            )
        head = body.get_submodule(linear[-1])
        assert isinstance(head, nn.Linear)
        self.body = body  # in front of the heads, so that the last linear layer is one of these
        self.heads = nn.ModuleDict({LABELS: head, TEACHER: copy.deepcopy(head)})
        taught = self.heads[TEACHER]
        assert isinstance(taught, nn.Linear)
        taught.reset_parameters()
        parent, _, name = linear[-1].rpartition(".")
        setattr(body.get_submodule(parent), name, nn.Identity())
        self.alpha, self.beta = alpha, beta

    def forward(self, inputs: Float[Tensor, "b ..."]) -> Tensor | Answer:
        """Logits (B, C), in train mode with each head's."""
        embedding = self.body(inputs)
        said = {name: head(embedding) for name, head in self.heads.items()}
        logits = mixture(said[LABELS], said[TEACHER], self.alpha, self.beta)
        return Answer(logits, said) if self.training else logits


_SPEC = re.compile(r"two_heads\[([^,\]]+),([^,\]]+)\]:(.+)")


def spec_of(inner: str, alpha: float, beta: float) -> str:
    """The architecture's name."""
    return f"two_heads[{alpha!r},{beta!r}]:{inner}"


def is_two_heads(spec: str) -> bool:
    """Whether an architecture's name is of this kind."""
    return spec.startswith("two_heads[")


def parse(config: ModelConfig) -> tuple[ModelConfig, float, float]:
    """(the inner network's configuration, alpha, beta); InputError if the name is not of the form above."""
    match = _SPEC.fullmatch(config.spec)
    try:
        if match is None:
            raise ValueError
        alpha, beta = float(match[1]), float(match[2])
    except ValueError:
        raise InputError(
            f"cannot read the model {config.spec!r}: expected 'two_heads[alpha,beta]:' and an architecture"
        ) from None
    return replace(config, spec=match[3]), alpha, beta
