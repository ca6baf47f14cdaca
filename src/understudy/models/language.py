"""Causal language models: tokens (B, L) in, logits (B, L, V) out, where position i says what token i + 1 is.

A small one is built here from a spec such as `lm[2,64,4]`; others are opened from a transformers folder or the hub.
Rows are padded on the right, which a causal model never looks back at, so no mask is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.errors import InputError

LM_OPTIONS = ("layers", "width", "heads")
EXTRA = "pip install 'understudy[language]'"
Reader = Callable[[Tensor], Tensor]
"""Reads a text piece by piece: tokens (B, n) that follow what was read before -> logits (B, n, V)."""


class CausalLM(nn.Module):
    """A transformers causal language model, cut down to its logits."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        logits: Tensor = self.body(input_ids=tokens, use_cache=False).logits
        return logits

    def reader(self) -> Reader:
        """A fresh reader, which keeps what it has read as keys and values."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.body.config)

        def read(tokens: Tensor) -> Tensor:
            logits: Tensor = self.body(input_ids=tokens, past_key_values=cache, use_cache=True).logits
            return logits

        return read


def reader_of(model: Any) -> Reader:
    """How to read a text piece by piece: by the model's own `reader`, else by reading it again from the start."""
    model = getattr(model, "module", model)  # what a memo remembers would be of no use again
    if hasattr(model, "reader"):
        own: Reader = model.reader()
        return own
    before: list[Tensor] = []

    def read(tokens: Tensor) -> Tensor:
        before.append(tokens)
        answer = model(torch.cat(before, 1))
        logits: Tensor = getattr(answer, "logits", answer)
        return logits[:, -tokens.shape[1] :]

    return read


def build_lm(shape: tuple[int, ...], vocabulary: int, options: tuple[int, ...]) -> CausalLM:
    """A new Llama-like model: rotary positions, gated units of 8/3 of the width, tied embeddings, no dropout.

    Args:
        shape: (L,), the length of a row; longer ones can be read too.
        options: layers, width, heads.

    Raises:
        InputError: transformers is missing, the data are no rows of tokens, or the heads do not divide the width
            into even parts.
    """
    layers, width, heads = options
    if len(shape) != 1:
        raise InputError(f"lm reads rows of tokens, the data are of shape {shape}: use a text data set")
    if width % heads or width // heads % 2:
        raise InputError(f"lm needs heads that divide the width into even parts, found {width} by {heads}")
    transformers = _transformers("lm")
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=shape[0],
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return CausalLM(transformers.LlamaForCausalLM(config).float())


def open_causal(name: str) -> CausalLM:
    """A transformers causal language model by hub id or folder, in float32.

    Weights are read from safetensors only, and code that comes with the model is never run.

    Raises:
        InputError: transformers is missing; there is no such model, or its weights do not fill it.
    """
    from understudy.models.hub import quiet_transformers

    transformers = _transformers(name)
    with quiet_transformers(transformers):
        try:
            body, notes = transformers.AutoModelForCausalLM.from_pretrained(
                name,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"transformers cannot open {name!r} as a causal language model: {message}"
            ) from error
    absent = sorted({*map(str, notes["missing_keys"]), *map(str, notes["mismatched_keys"])})
    if absent:
        raise InputError(
            f"{name!r} is no trained language model: it has no fitting weights for {', '.join(absent[:5])}"
        )
    return CausalLM(body)


def fit_to_text(module: nn.Module, source: str, length: int, vocabulary: int) -> nn.Module:
    """The module, which gives logits (B, L, V) for tokens (B, L), V at least the vocabulary.

    Raises:
        InputError: it cannot read a row of tokens, or its logits have another shape or are not finite.
    """
    from understudy.models.look import answer_of

    like = next(module.parameters(), torch.zeros(()))
    probe = torch.zeros(2, length, dtype=torch.int64, device=like.device)
    with torch.no_grad():
        try:
            answer = answer_of(module(probe))
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, InputError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{source} cannot read tokens of shape (2, {length}): {message}") from error
    if answer.dim() != 3 or answer.shape[:2] != (2, length) or answer.shape[2] < vocabulary:
        raise InputError(
            f"{source} gives answers of shape {tuple(answer.shape)} for 2 rows of {length} tokens; logits of shape "
            f"(2, {length}, {vocabulary}) or wider are needed, one a token of the vocabulary"
        )
    if not bool(answer.isfinite().all()):
        raise InputError(f"{source} gives NaN or infinite logits for a row of tokens")
    return module


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError as missing:
        raise InputError(f"{name} needs transformers ({missing}): {EXTRA}") from missing
    return transformers
