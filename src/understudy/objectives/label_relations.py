"""How embeddings of labels lie to one another within groups: the distances of L2D, one value a member.

Half precision is computed in float32, also under autocast. Yang et al., arXiv 2308.06453.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.errors import InputError


def group_relation(
    teacher: Float[Tensor, "g n dt"], student: Float[Tensor, "g n ds"], members: Bool[Tensor, "g n"]
) -> Float[Tensor, "g n"]:
    """1/n_g sum_b h(d_ab(student) - d_ab(teacher)) for every member a of group g, b over its n_g members.

    d are Euclidean distances over the mean of those in the group that are above 0, h is Huber's loss, u^2 / 2 up to 1
    and |u| - 1/2 beyond. The sum over a is the group's loss. 0 for who is no member, and in groups of less than three:
    two have one distance, which is its own mean. The teacher's side is a constant.
    """
    wide = torch.promote_types(torch.promote_types(teacher.dtype, student.dtype), torch.float32)
    pairs = members[:, :, None] & members[:, None, :]
    apart = _scaled(student.to(wide), pairs) - _scaled(teacher.detach().to(wide), pairs)
    loss = F.huber_loss(apart, torch.zeros_like(apart), reduction="none")
    return loss.sum(2) / members.sum(1, keepdim=True).clamp(min=1)


def _scaled(points: Tensor, pairs: Tensor) -> Tensor:
    """Distances (G, N, N) of the pairs over the mean of those above 0; 0 elsewhere, with gradient 0 at 0."""
    with torch.autocast(points.device.type, enabled=False):
        lengths = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") * pairs
    above = (lengths > 0).sum((1, 2), keepdim=True)
    mean = lengths.sum((1, 2), keepdim=True) / above.clamp(min=1)
    return lengths / torch.where(above > 0, mean, 1.0)


def class_relation(
    teacher: Float[Tensor, "b c dt"], student: Float[Tensor, "b c ds"], labels: Int[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """Each example's share of L2D's class-aware loss, whose groups are the examples that bear a label: (B,).

    Their sum over the batch is L_CD, the sum over the labels.

    Raises:
        InputError: embeddings that are not one a label, (B, C, D).
    """
    _check(teacher, student, labels)
    groups = (teacher.transpose(0, 1), student.transpose(0, 1), labels.t() == 1)
    return group_relation(*groups).sum(0)


def instance_relation(
    teacher: Float[Tensor, "b c dt"], student: Float[Tensor, "b c ds"], labels: Int[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """L2D's instance-aware loss of each example, whose groups are the labels that it bears: (B,).

    Raises as `class_relation` does.
    """
    _check(teacher, student, labels)
    return group_relation(teacher, student, labels == 1).sum(1)


def _check(teacher: Tensor, student: Tensor, labels: Tensor) -> None:
    for who, side in (("teacher", teacher), ("student", student)):
        if side.dim() != 3 or side.shape[:2] != labels.shape:
            raise InputError(
                f"the {who} must embed every label, ({labels.shape[0]}, {labels.shape[1]}, D), "
                f"found {tuple(side.shape)}: name such a layer, as the zoo's label_cnn has"
            )
