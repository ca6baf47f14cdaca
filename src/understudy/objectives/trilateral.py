"""The triangle of student, teacher and truth at one example, and the network that reads a weight off it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.errors import unknown

Geometry = Literal["vertices", "edges", "full", "vertices+angles", "edges+angles", "star", "angles"]
SIZES = {
    "vertices": 4, "edges": 3, "full": 9, "vertices+angles": 6, "edges+angles": 5, "star": 9, "angles": 2,
}  # fmt: skip


def trilateral(
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    means: Float[Tensor, "b c"],
    geometry: Geometry = "full",
) -> Float[Tensor, "b f"]:
    """What the weight is read off, element by element and without gradient: (B, 9C), fewer for parts of it.

    With s, t the confidences, g the one-hot label and m = `means`, the teacher's mean confidence in the label's class:
    "full" is [s, t, g, m, (m-s)^2, (g-s)^2, (t-s)^2, (t-g)^2, (m-g)^2]; the vertices are its first four, the edges
    (to s) its next three; the angles are (m-s)(g-s) and (t-s)(g-s), and "star" is vertices, edges and angles.

    Raises:
        InputError: a geometry of another name.
    """
    wide = torch.promote_types(torch.promote_types(teacher_logits.dtype, student_logits.dtype), torch.float32)
    t, s = (x.detach().to(wide).softmax(1) for x in (teacher_logits, student_logits))
    g, m = F.one_hot(labels, t.shape[1]).to(wide), means.to(wide)
    vertices, edges = [s, t, g, m], [(m - s) ** 2, (g - s) ** 2, (t - s) ** 2]
    angles = [(m - s) * (g - s), (t - s) * (g - s)]
    parts: dict[str, list[Tensor]] = {
        "vertices": vertices,
        "edges": edges,
        "full": [*vertices, *edges, (t - g) ** 2, (m - g) ** 2],
        "vertices+angles": [*vertices, *angles],
        "edges+angles": [*edges, *angles],
        "star": [*vertices, *edges, *angles],
        "angles": angles,
    }
    if geometry not in parts:
        raise unknown("geometry", str(geometry), parts)
    return torch.cat(parts[geometry], 1)


class Controller(nn.Module):
    """A weight in (0, 1) of each example, read off `features` numbers; and the teacher's mean confidence by class.

    Args:
        features: F, how many numbers an example.
        classes: C.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, 32), nn.LeakyReLU(), nn.Linear(32, 16), nn.LeakyReLU(), nn.Linear(16, 1)
        )
        self.register_buffer("sums", torch.zeros(classes, classes))
        self.register_buffer("counts", torch.zeros(classes))

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        """The weights alpha: (B,)."""
        return self.layers(features.to(self.sums.dtype)).squeeze(1).sigmoid()

    @torch.no_grad()
    def note(self, teacher_logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> None:
        """Count these examples in."""
        self.sums.index_add_(0, labels, teacher_logits.to(self.sums.dtype).softmax(1))
        self.counts.index_add_(0, labels, torch.ones_like(labels, dtype=self.counts.dtype))

    @torch.no_grad()
    def means(self, teacher_logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """The mean of all that was counted in of each example's class; its own confidence where nothing was."""
        count = self.counts[labels][:, None]
        own = teacher_logits.to(self.sums.dtype).softmax(1)
        return torch.where(count > 0, self.sums[labels] / count.clamp(min=1), own)
