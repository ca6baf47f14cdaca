"""The points of `certifier.py` with auto_LiRPA, where it is installed."""

from __future__ import annotations

import time
from typing import Any

import torch
from certifier_rows import Row, Setting, attacked, environment, rounded
from torch import Tensor, nn


def margin_rows() -> Tensor:
    """z_j - z_k of all pairs, those of class k = 0 first: (90, 10)."""
    one = torch.eye(10)
    return torch.stack([one[j] - one[k] for k in range(10) for j in range(10) if j != k])


class Joint(nn.Module):
    """Differences of confidence, all classes at once, in operators that auto_LiRPA bounds.

    `recip` writes a confidence as 1 / (1 + sum exp), which plain CROWN bounds best; else as sigmoid(-log sum
    exp), the form whose slopes it can optimise.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, recip: bool) -> None:
        super().__init__()
        self.teacher, self.student, self.recip = teacher, student, recip
        self.register_buffer("rows", margin_rows())

    def confidences(self, logits: Tensor) -> Tensor:
        total = (logits @ self.rows.t()).view(-1, 10, 9).exp().sum(2)  # type: ignore[operator]
        return 1 / (1 + total) if self.recip else torch.sigmoid(-torch.log(total))

    def forward(self, x: Tensor) -> Tensor:
        return self.confidences(self.teacher(x)) - self.confidences(self.student(x))


def peer(row: Row, setting: Setting) -> dict[str, Any]:
    """The same points with auto_LiRPA as it is, in float32: alpha-CROWN of pairwise margins, and joint graphs."""
    import auto_LiRPA
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

    torch.set_num_threads(setting.threads)
    teacher, student, inputs, _, _ = attacked(row, setting)
    options = {"optimize_bound_args": {"iteration": 20, "lr_alpha": 0.1}}
    rows = margin_rows().to(setting.device)
    found: dict[str, list[Tensor]] = {
        "margins, alpha-CROWN": [],
        "joint, CROWN": [],
        "joint, alpha-CROWN": [],
    }
    seconds = dict.fromkeys(found, 0.0)
    for x in inputs.float().split(1):
        low, high = (x - row.eps).clamp(0, 1), (x + row.eps).clamp(0, 1)

        def ranges(model: nn.Module, method: str, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
            ball = PerturbationLpNorm(norm=torch.inf, eps=row.eps, x_L=low, x_U=high)  # noqa: B023
            bounded = BoundedModule(model, x, bound_opts=options, device=setting.device)  # noqa: B023
            lower, upper = bounded.compute_bounds(x=(BoundedTensor(x, ball),), C=c, method=method)  # noqa: B023
            return lower.detach().double()[0], upper.detach().double()[0]

        for name in found:
            began = time.process_time()
            if name.startswith("joint"):
                joint = Joint(teacher, student, name == "joint, CROWN")
                lower, upper = ranges(joint, name.split(", ")[1])
                found[name].append(torch.maximum(upper, -lower))
            else:
                odds = []
                for model in (teacher, student):
                    lower, upper = (side.view(10, 9) for side in ranges(model, "alpha-CROWN", rows[None]))
                    odds.append(((-upper.logsumexp(1)).sigmoid(), (-lower.logsumexp(1)).sigmoid()))
                found[name].append(torch.maximum(odds[0][1] - odds[1][0], odds[1][1] - odds[0][0]))
            seconds[name] += time.process_time() - began
    each = {name: torch.stack(values).nan_to_num(nan=1.0).clamp(0, 1) for name, values in found.items()}
    best = torch.stack(list(each.values())).amin(0)
    uppers = {name: float(values.amax(1).mean()) for name, values in {**each, "best per class": best}.items()}
    taken = {name: value / len(inputs) for name, value in seconds.items()}
    return {
        "upper": rounded(uppers),
        "seconds_a_point": rounded(taken),
        "version": auto_LiRPA.__version__,
        **environment(),
    }
