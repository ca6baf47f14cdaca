"""Two sparse encodings: the k likeliest classes, which is biased, and a random sample, which is not.

Sparse Logit Sampling (Anshumann et al., arXiv 2503.16870, ACL 2025). With t the teacher's probabilities (C,):

    top-k       t^s = t on the k likeliest classes, 0 elsewhere; a = sum t^s < 1, |E[t^s] - t|_1 = 1 - a, and a
                student that minimises cross-entropy to it reaches t^s / a, at distance 2 (1 - a) from t
    sampled     i_1..i_N drawn from r ~ t^tau with replacement; t^s_i = 1/N sum_n (t_{i_n} / r_{i_n}) 1[i_n = i]
                so that E[t^s] = t; at tau = 1 it is counts / N and sums to 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number
from understudy.teachers.counter import stream_key, uniforms
from understudy.teachers.encoding import Encoded, Encoding, FloatName, as_bytes, check_float
from understudy.teachers.packing import bytes_for, pack, unpack
from understudy.teachers.targets import SparseTargets

_END = 4  # bytes that say where a unit's entries end


@dataclass(frozen=True)
class TopK(Encoding):
    """The k likeliest classes and their un-normalised probabilities. Biased: the tail is lost, and is reported.

    Attributes:
        k: classes kept.
        dtype: of the stored ln t; "float16" moves t by at most 2^-11 |ln t| of itself.
    """

    k: int
    dtype: FloatName = "float16"

    kind: ClassVar[str] = "top-k"

    def __post_init__(self) -> None:
        _positive("k", self.k)
        check_float(self.dtype)

    def width(self, classes: int) -> int:
        """k indices and k numbers."""
        if self.k > classes:
            raise InputError(f"k must be at most the number of classes, {classes}, found {self.k}")
        return self.k * (bytes_for(classes - 1) + np.dtype(self.dtype).itemsize)

    def encode(
        self, logits: Float[Tensor, "n c"], temperature: float, rows: Int64[np.ndarray, " n"]
    ) -> Encoded:
        """Indices, then ln t, likeliest first; what is lost is 1 - a."""
        n, classes = logits.shape
        self.width(classes)
        logs, indices = (logits.detach().double() / temperature).log_softmax(1).topk(self.k, dim=1)
        packed = pack(indices.cpu().numpy().reshape(-1), bytes_for(classes - 1)).reshape(n, -1)
        values = as_bytes(logs.cpu().to(getattr(torch, self.dtype)).numpy())
        lost = (1.0 - logs.exp().sum(1)).clamp(0.0, 1.0).cpu().numpy()
        return Encoded(np.concatenate((packed, values), 1), None, lost)

    def decode(
        self, entries: UInt8[np.ndarray, "m w"], lengths: Int64[np.ndarray, " b"] | None, classes: int
    ) -> SparseTargets:
        """(B, k) classes and probabilities, not renormalised."""
        cut = self.k * bytes_for(classes - 1)
        indices = unpack(entries[:, :cut].reshape(-1, cut // self.k)).reshape(-1, self.k)
        logs = np.ascontiguousarray(entries[:, cut:]).view(f"<f{np.dtype(self.dtype).itemsize}")
        return SparseTargets(torch.from_numpy(indices), torch.from_numpy(logs).float().exp(), classes)


@dataclass(frozen=True)
class Sampled(Encoding):
    """N draws with replacement: E[target] = t for every class. At tau = 1 class and count share one word.

    Attributes:
        draws: N; 50 gives about 12 different tokens of a usual language model.
        proposal: tau; another than 1 stores float32 weights, whose sum is 1 only on average.
        seed: of the draws, which belong to the unit: how units are grouped into batches changes nothing.
    """

    draws: int = 50
    proposal: float = 1.0
    seed: int = 0

    kind: ClassVar[str] = "sampled"
    varied: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _positive("draws", self.draws)
        check_number("proposal", self.proposal, 0.0, above=True)

    def width(self, classes: int) -> int:
        """One class and its count, or its weight."""
        if self.proposal == 1.0:
            return bytes_for((classes << self._count_bits) - 1)
        return bytes_for(classes - 1) + 4

    def most(self, classes: int) -> int:
        """All draws different."""
        return min(self.draws, classes) * self.width(classes) + _END

    @property
    def _count_bits(self) -> int:
        return (self.draws - 1).bit_length()

    def encode(
        self, logits: Float[Tensor, "n c"], temperature: float, rows: Int64[np.ndarray, " n"]
    ) -> Encoded:
        """The distinct classes drawn, in ascending order."""
        classes = logits.shape[1]
        logs = (logits.detach().double() / temperature).log_softmax(1)
        scaled = logs if self.proposal == 1.0 else (self.proposal * logs).log_softmax(1)
        key = stream_key("sampled targets", self.seed)
        drawn = draw(scaled.exp(), torch.from_numpy(uniforms(key, rows, self.draws)).to(logs.device))
        unit, index, count = count_runs(drawn)
        lengths = np.bincount(unit.cpu().numpy(), minlength=len(rows))
        if self.proposal == 1.0:
            words = (index << self._count_bits) | (count - 1)
            return Encoded(pack(words.cpu().numpy(), self.width(classes)), lengths)
        weights = (logs - scaled)[unit, index].exp() * count / self.draws
        values = as_bytes(weights.float().cpu().numpy()[:, None])
        return Encoded(
            np.concatenate((pack(index.cpu().numpy(), bytes_for(classes - 1)), values), 1), lengths
        )

    def decode(
        self, entries: UInt8[np.ndarray, "m w"], lengths: Int64[np.ndarray, " b"] | None, classes: int
    ) -> SparseTargets:
        """(B, K) classes and t^s, K the most of any unit in the batch."""
        assert lengths is not None
        if self.proposal == 1.0:
            words = unpack(entries)
            index = words >> self._count_bits
            counts = (words & ((1 << self._count_bits) - 1)) + 1
            weight = counts.astype(np.float32) / np.float32(self.draws)
        else:
            index = unpack(entries[:, :-4])
            weight = np.ascontiguousarray(entries[:, -4:]).view("<f4")[:, 0]
        most = int(lengths.max(initial=0))
        there = np.arange(most) < lengths[:, None]
        indices, probabilities = np.zeros(there.shape, np.int64), np.zeros(there.shape, np.float32)
        indices[there], probabilities[there] = index, weight
        return SparseTargets(torch.from_numpy(indices), torch.from_numpy(probabilities), classes)


def draw(probabilities: Float[Tensor, "n c"], u: Float[Tensor, "n d"]) -> Tensor:
    """Inverse transform: the class whose stretch of the summed probabilities holds u: (N, D) int64.

    A class without probability is never drawn, nor one beyond the last.
    """
    summed = probabilities.cumsum(1)
    total = summed[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(summed, torch.minimum(u * total, below), right=True)


def count_runs(drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(row, class, count) of each distinct class in each row of (N, D) draws, by row and class: (M,) each."""
    ordered = drawn.sort(1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    at = first.flatten().nonzero()[:, 0]
    ends = torch.cat((at[1:], at.new_full((1,), drawn.numel())))
    return at // drawn.shape[1], ordered.flatten()[at], ends - at


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be 1 or more, found {value}")
