"""Text teachers: black boxes that answer a text with a text, and say nothing of how sure they are.

One is a service behind an endpoint (`teachers.endpoint`), a language model on this machine (`LocalTeacher`), or
anything else with an `answer`: a program, a person. `Cached` keeps what any of them has said in a file.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.data.tokenizers import Tokenizer
from understudy.errors import InputError
from understudy.models.language import reader_of
from understudy.models.language_sampling import continued
from understudy.models.look import in_mode
from understudy.models.saved import sha256_state
from understudy.numbers import check_number


class TextTeacher(ABC):
    """Answers texts."""

    @abstractmethod
    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        """One answer a prompt, in their order. `draw` numbers the answers to the same prompt, where they differ."""

    @property
    def key(self) -> str:
        """What its answers depend on beside the prompt: model, sampling; by default its class. Never a secret."""
        return f"{type(self).__module__}:{type(self).__qualname__}"

    def sampled(
        self, temperature: float, max_tokens: int | None = None, *, whole: bool = False
    ) -> TextTeacher:
        """The same teacher with other sampling, where it has any; `whole`: an answer that was cut off is ""."""
        return self


@dataclass(frozen=True, eq=False)
class LocalTeacher(TextTeacher):
    """A language model on this machine. The same prompt, draw and seed give the same answer, in any company.

    Attributes:
        module: tokens (B, L) -> logits (B, L, V).
        tokenizer: its own.
        temperature: of the sampling; 0 takes the likeliest token.
        max_tokens: of an answer.
        length: of prompt and answer together, in tokens; None is no limit but `max_tokens`.
        seed: of the sampling.
        batch: prompts that are answered side by side.
        whole: whether an answer that did not come to its end is given as "".
    """

    module: nn.Module = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    temperature: float = 0.7
    max_tokens: int = 256
    length: int | None = None
    seed: int = 0
    batch: int = 64
    whole: bool = False

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0)
        for name in ("max_tokens", "batch"):
            check_number(name, getattr(self, name), 1)

    @property
    def key(self) -> str:
        """The hash of its weights, its tokenizer's, and its sampling."""
        about = (self.temperature, self.max_tokens, self.length, self.seed, self.whole)
        return f"{sha256_state(self.module)} {self.tokenizer.key} {about}"

    def sampled(
        self, temperature: float, max_tokens: int | None = None, *, whole: bool = False
    ) -> LocalTeacher:
        """The same model with other sampling."""
        most = self.max_tokens if max_tokens is None else max_tokens
        return replace(self, temperature=temperature, max_tokens=most, whole=whole)

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        """One answer a prompt; "" where a prompt leaves no room for one."""
        found: list[str] = []
        for first in range(0, len(prompts), self.batch):
            found += self._answered(prompts[first : first + self.batch], draw)
        return found

    def _answered(self, prompts: Sequence[str], draw: int) -> list[str]:
        ids = [self.tokenizer.encode(prompt, opening=True) or [self.tokenizer.pad] for prompt in prompts]
        stops = [min(len(own) + self.max_tokens, self.length or math.inf) for own in ids]
        length = int(max(*stops, *(len(own) for own in ids)))
        rows = torch.tensor([own + [self.tokenizer.pad] * (length - len(own)) for own in ids])
        begin = torch.tensor([len(own) for own in ids])
        place = next((p.device for p in self.module.parameters()), rows.device)
        drawn = torch.stack([_uniform(f"{self.seed}\0{draw}\0{prompt}", length) for prompt in prompts])
        with torch.no_grad(), in_mode(self.module, False):
            written, ends = continued(
                reader_of(self.module),
                rows.to(place),
                begin.to(place),
                drawn.to(place),
                temperature=self.temperature,
                end=self.tokenizer.end,
                classes=self.tokenizer.size,
            )
        answers = []
        for row, own, end, stop in zip(written.tolist(), ids, ends.tolist(), stops, strict=True):
            last = int(min(end, stop))
            cut = last <= len(own) or (self.tokenizer.end is not None and row[last - 1] != self.tokenizer.end)
            answers.append("" if self.whole and cut else self.tokenizer.decode(row[len(own) : last]))
        return answers


def _uniform(seed: str, count: int) -> Tensor:
    """(count,) numbers in [0, 1), the same for the same text."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big")
    return torch.rand(count, generator=torch.Generator().manual_seed(number))


class Cached(TextTeacher):
    """Another teacher, whose answers are kept in a JSONL file: what is in it is not asked again, by any run.

    An entry is found by the SHA-256 of the teacher's `key`, the draw and the prompt, and is on disk as soon as the
    answer is here. A last line that a kill cut off is dropped.

    Args:
        together: prompts that the teacher is given at once.
        workers: how many such calls are under way at once.

    Raises:
        InputError: the file cannot be read or written, or is none of ours.
    """

    def __init__(self, teacher: TextTeacher, file: Path, *, together: int = 1, workers: int = 1) -> None:
        check_number("together", together, 1)
        check_number("workers", workers, 1)
        self.teacher, self.file, self.together, self.workers = teacher, file, together, workers
        self._known: dict[str, str] = _read(file)
        self._about = teacher.key

    @property
    def key(self) -> str:
        """The teacher's own."""
        return self._about

    def sampled(self, temperature: float, max_tokens: int | None = None, *, whole: bool = False) -> Cached:
        """The teacher with other sampling, kept in the same file."""
        other = self.teacher.sampled(temperature, max_tokens, whole=whole)
        return Cached(other, self.file, together=self.together, workers=self.workers)

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        """From the file, and from the teacher what is not there."""
        names = [self._name(prompt, draw) for prompt in prompts]
        wanted = {n: p for n, p in zip(names, prompts, strict=True) if n not in self._known}
        missing = list(wanted.items())
        parts = [missing[i : i + self.together] for i in range(0, len(missing), self.together)]
        self._ask(parts, draw)
        return [self._known[name] for name in names]

    def _name(self, prompt: str, draw: int) -> str:
        return hashlib.sha256(json.dumps([self._about, draw, prompt]).encode()).hexdigest()

    def _ask(self, parts: list[list[tuple[str, str]]], draw: int) -> None:
        """Keep each part's answers as soon as they are here; after an error no new call begins."""
        failed: Exception | None = None
        with ThreadPoolExecutor(self.workers) as pool:
            calls = {pool.submit(self.teacher.answer, [p for _, p in part], draw): part for part in parts}
            try:
                for call in as_completed(calls):
                    if call.cancelled():
                        continue
                    if (error := call.exception()) is None:
                        said = zip(calls[call], call.result(), strict=True)
                        self._keep([(name, prompt, text) for (name, prompt), text in said])
                    elif failed is None:  # what is under way is still waited for, and kept
                        failed = error if isinstance(error, Exception) else InputError(repr(error))
                        for other in calls:
                            other.cancel()
            finally:
                for call in calls:
                    call.cancel()
        if failed is not None:
            raise failed

    def _keep(self, entries: list[tuple[str, str, str]]) -> None:
        lines = [
            json.dumps({"key": n, "prompt": p, "answer": a}, ensure_ascii=False) + "\n" for n, p, a in entries
        ]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", encoding="utf-8") as handle:
                handle.writelines(lines)
        except OSError as error:
            raise InputError(f"answers cannot be kept in {self.file}: {error.strerror or error}") from error
        self._known.update({name: answer for name, _, answer in entries})


def _read(file: Path) -> dict[str, str]:
    """The entries of a file; a last line without its end is cut off the file."""
    if not file.exists():
        return {}
    try:
        raw = file.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            file.write_bytes(whole)
        entries = [json.loads(line) for line in whole.decode().split("\n") if line]
        return {str(entry["key"]): str(entry["answer"]) for entry in entries}
    except OSError as error:
        raise InputError(f"answers cannot be read from {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} holds no answers of a text teacher, one JSON object a line: {error!r}"
        ) from error
