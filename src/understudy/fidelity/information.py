"""Mutual information between two models' answers, or between any two codes, from a table of counts; in nats.

I(X; Y) = sum p(x, y) ln(p(x, y) / (p(x) p(y))), in [0, min(H(X), H(Y))]: how much one model's answer tells about the
other's. It does not see how answers are named (two models that always differ, each in its own way, can have all of
it), which the top-1 agreement does: read both.

Estimated by the plug-in: the formula with the shares seen. Its bias, whatever the models, is to first order
(K_X - 1)(K_Y - 1) / 2N where all pairs occur, upwards: independent answers over 100 classes give 3.5 nats from 128
examples. Two remedies are reported beside it:

corrected: Miller's and Madow's (1955) correction of each entropy by (cells that occur - 1) / 2N: what is left is of
    order 1 / N^2 if all cells that can occur did. With fewer examples than cells it corrects next to nothing, and
    may even go up; do not trust it there.
chance: the plug-in's exact mean over all pairings of the same answers (Vinh, Epps and Bailey, 2010). At any N, a
    plug-in that is not well above its `chance` is no sign of dependence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_pair

_MOST_CELLS = 2**24  # 128 MB of counts


@dataclass(frozen=True)
class Information:
    """Mutual information of X and Y from `count` examples, nats; the module says what each estimate is good for.

    plug_in: in [0, min(first_entropy, second_entropy)], biased upwards.
    corrected: after Miller and Madow; may be below 0.
    chance: the plug-in's mean if the same answers were paired at random.
    first_entropy, second_entropy: plug-in H(X) and H(Y), biased downwards by about (K - 1) / 2N.
    """

    plug_in: float
    corrected: float
    chance: float
    first_entropy: float
    second_entropy: float
    count: int


class JointCounts:
    """Counts of pairs of codes (x in 0..rows-1, y in 0..columns-1), batch by batch: rows x columns whole numbers."""

    def __init__(self, rows: int, columns: int) -> None:
        if rows < 1 or columns < 1 or rows * columns > _MOST_CELLS:
            raise InputError(
                f"a table of counts needs 1 to {_MOST_CELLS} cells, found {rows} rows and {columns} columns"
            )
        self.table = torch.zeros(rows, columns, dtype=torch.int64)

    def update(self, first: Int[Tensor, " n"], second: Int[Tensor, " n"]) -> None:
        """Takes in codes (N,) of both; InputError, and nothing taken in, for one out of range or N that differ."""
        if first.ndim != 1 or first.shape != second.shape:
            raise InputError(
                f"codes come in pairs, (N,) of each, found {tuple(first.shape)} and {tuple(second.shape)}"
            )
        rows, columns = self.table.shape
        for codes, size, which in ((first, rows, "first"), (second, columns, "second")):
            if len(codes) and not (int(codes.min()) >= 0 and int(codes.max()) < size):
                found = f"{int(codes.min())}..{int(codes.max())}"
                raise InputError(f"{which} codes must lie in 0..{size - 1}, found {found}")
        place = first.long() * columns + second.long()
        self.table += torch.bincount(place, minlength=rows * columns).view(rows, columns).cpu()

    def merge(self, other: JointCounts) -> None:
        """Takes in what `other` has counted; InputError for a table of another size, or itself."""
        if other is self:
            raise InputError("a table cannot be merged with itself: its examples would count twice")
        if other.table.shape != self.table.shape:
            raise InputError(
                f"tables of {tuple(self.table.shape)} and {tuple(other.table.shape)} counts cannot be merged"
            )
        self.table += other.table

    def result(self) -> Information:
        """The information in all pairs so far; InputError before the first."""
        return information_of(self.table)


def information_of(counts: Int[Tensor, "r c"]) -> Information:
    """Mutual information of the pairs counted in (R, C), rows one code and columns the other, in nats.

    Raises:
        InputError: a count below 0, or none above.
    """
    if counts.ndim != 2 or counts.numel() == 0 or int(counts.min()) < 0 or int(counts.sum()) == 0:
        raise InputError("counts must be (R, C), 0 or more, and one pair at least must have been counted")
    table = counts.cpu().numpy().astype(np.int64)
    table = table[table.any(1)][:, table.any(0)]
    n = int(table.sum())
    rows, columns = table.sum(1), table.sum(0)
    r, c = np.nonzero(table)
    seen = table[r, c]
    share = seen / n
    # of shares that multiply to their product, exactly 0
    ratio = seen.astype(float) * n / (rows[r].astype(float) * columns[c])
    plug_in = max(0.0, math.fsum(share * np.log(ratio)))
    corrected = plug_in + (len(rows) + len(columns) - len(seen) - 1) / (2 * n)
    return Information(plug_in, corrected, _chance(table, n), _entropy(rows, n), _entropy(columns, n), n)


class PredictionInformation:
    """Mutual information between what a teacher and a student predict, batch by batch, at constant memory.

    answers: of the top classes, by a table of C x C counts; none is kept where `classes` is None.
    confidences: of the greatest probabilities, max_k p_k, each in `bins` equal bins of [0, 1], right-closed. Codes are
        coarser than what they code: what the table converges to is a lower bound of the confidences' information,
        and rises with `bins`, as the plug-in's bias does.
    """

    def __init__(self, classes: int | None, bins: int = 10) -> None:
        if bins < 2:
            raise InputError(f"confidences need 2 bins at least, found {bins}")
        self._answers = None if classes is None else JointCounts(classes, classes)
        self._confidences = JointCounts(bins, bins)

    def update(self, teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]) -> None:
        """Takes in logits (B, C) of both, B >= 1; InputError as `Fidelity.update`. Ties go to the lowest class."""
        check_pair(teacher_logits, student_logits)
        both = teacher_logits.detach(), student_logits.detach()
        if self._answers is not None:
            if teacher_logits.shape[1] != len(self._answers.table):
                raise InputError(
                    f"logits must be of {len(self._answers.table)} classes, found {teacher_logits.shape[1]}"
                )
            self._answers.update(*(logits.argmax(1) for logits in both))
        bins = len(self._confidences.table)
        edges = torch.arange(1, bins, dtype=torch.float64, device=both[0].device) / bins
        top = (logits.double().softmax(1).amax(1) for logits in both)
        self._confidences.update(*(torch.bucketize(each, edges) for each in top))

    def merge(self, other: PredictionInformation) -> None:
        """Takes in what `other` has seen; InputError for other classes or bins, or itself."""
        if self._confidences.table.shape != other._confidences.table.shape:
            raise InputError("confidences in different numbers of bins cannot be merged")
        if (self._answers is None) != (other._answers is None):
            raise InputError("a measurement that keeps the answers cannot be merged with one that does not")
        if self._answers is not None and other._answers is not None:
            self._answers.merge(other._answers)
        self._confidences.merge(other._confidences)

    def answers(self) -> Information:
        """Of the top classes; InputError before the first example, and where they are not kept."""
        if self._answers is None:
            raise InputError("the answers were not kept: state the number of classes")
        return self._answers.result()

    def confidences(self) -> Information:
        """Of the binned confidences; InputError before the first example."""
        return self._confidences.result()


def _entropy(counts: np.ndarray, n: int) -> float:
    return max(0.0, math.fsum(counts / n * np.log(n / counts)))


def _chance(table: np.ndarray, n: int) -> float:
    """The mean plug-in over all pairings with these margins: each cell is hypergeometric."""
    from scipy.special import gammaln

    rows, columns = np.unique(table.sum(1), return_counts=True), np.unique(table.sum(0), return_counts=True)
    total = 0.0
    for a, times_a in zip(*rows, strict=True):
        for b, times_b in zip(*columns, strict=True):
            k = np.arange(max(1, a + b - n), min(a, b) + 1, dtype=float)
            log_p = gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1)
            log_p -= gammaln(n + 1) + gammaln(k + 1) + gammaln(a - k + 1) + gammaln(b - k + 1)
            log_p -= gammaln(n - a - b + k + 1)
            value = k / n * np.log(k * n / (float(a) * float(b)))
            total += float(times_a * times_b * np.sum(np.exp(log_p) * value))
    return max(0.0, total)
