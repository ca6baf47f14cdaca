"""Distances between two models' confidences, one value an example; and the one voice of several teachers.

With p and q the softmax, at temperature 1, of the teacher's and the student's logits (B, C). KL, total variation and
the divergence of Jensen and Shannon are in `understudy.objectives.divergences`; here are the distance made of the
last, and Wasserstein's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_logits, check_pair
from understudy.objectives.divergences import js

Average = Literal["probabilities", "logits"]


def jensen_shannon_distance(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """sqrt(KL(p || m) / 2 + KL(q || m) / 2), m = (p + q) / 2, in [0, sqrt(ln 2)]: (B,) float64.

    A metric (Endres and Schindelin, 2003): symmetric, 0 at equality alone, with the triangle inequality, which its
    square, the divergence in nats, has not.

    Raises:
        InputError: no example, shapes that differ, a logit that is not finite.
    """
    check_pair(teacher_logits, student_logits)
    return js(teacher_logits.detach().double(), student_logits.detach().double()).sqrt()


def wasserstein(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """sum over c < C - 1 of |sum over k <= c of (p_k - q_k)|, in [0, C - 1]: (B,) float64.

    The 1-Wasserstein distance of p and q with the classes at the places 0, 1, .., C - 1 of a line (Vallender, 1974):
    `scipy.stats.wasserstein_distance(range(C), range(C), p, q)`. Its unit is the step from a class to the next. It
    says something of its own where the classes are ordered (ages, grades); else it depends on how they happen to be
    numbered. Where every move costs 1, the 1-Wasserstein distance is the total variation, which lies between this
    distance over C - 1 and this distance. (Handed p and q as samples, without places, SciPy compares their sorted
    values, which does not see a permutation of the classes: another quantity.)

    Raises:
        InputError: no example, shapes that differ, a logit that is not finite.
    """
    check_pair(teacher_logits, student_logits)
    difference = teacher_logits.detach().double().softmax(1) - student_logits.detach().double().softmax(1)
    return difference[:, :-1].cumsum(1).abs().sum(1).clamp_max(difference.shape[1] - 1.0)


def ensemble_logits(
    members: Sequence[Float[Tensor, "b c"]], average: Average = "probabilities"
) -> Float[Tensor, "b c"]:
    """One teacher's logits (B, C) for M members' logits, each (B, C), in float64.

    "probabilities": ln((1 / M) sum of the members' softmax), whose softmax is the mean confidence (Stanton et al.,
    arXiv 2106.05945). "logits": the mean of the logits, which the code of Guo et al. (arXiv 2405.00739) measures its
    ensembles by, although its loss has the mean confidence for a target. The two differ; one member is itself in both.

    Raises:
        InputError: no member, members of different shapes, a logit that is not finite, an unknown average.
    """
    if average not in ("probabilities", "logits"):
        raise InputError(f"teachers are averaged by 'probabilities' or by 'logits', found {average!r}")
    if not members:
        raise InputError("an ensemble needs one member at least, found none")
    for i, member in enumerate(members):
        check_logits(member, f"member {i}")
    if len(shapes := {tuple(member.shape) for member in members}) > 1:
        raise InputError(f"the members' logits must have one shape (B, C), found {sorted(shapes)}")
    if len(members) == 1:
        return members[0].detach().double()
    said = torch.stack([member.detach().double() for member in members])
    if average == "logits":
        return said.mean(0)
    return said.log_softmax(2).logsumexp(0) - math.log(len(members))
