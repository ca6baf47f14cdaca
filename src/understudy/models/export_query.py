"""A pair as one ONNX network, whose outputs are what a question about the pair compares.

Forms, of logits z^T, z^S (K classes) and confidences p^T, p^S:

    softmax   p^T_k - p^S_k for every class k: K outputs
    margins   for ordered pairs (k, j), j != k: z^T_k - z^T_j of all pairs, then z^S_k - z^S_j, then their
              difference: 3 outputs a pair, piecewise linear in the input if the networks are
    top1      z^T, then z^S: 2 K outputs
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.export import to_onnx
from understudy.models.look import logits_of
from understudy.models.onnx.check import Reference, difference
from understudy.models.saved import write_atomically

Form = Literal["softmax", "margins", "top1"]
AGREES = 1e-5  # between onnxruntime and torch in float32, as a share of the largest output (or of 1)


class Product(nn.Module):
    """Two networks on one input: (1, *shape) -> (1, outputs).

    Args:
        teacher, student: give logits (1, K).
        softmax: take confidences, not logits.
        last: (outputs, 2 K), applied to what the teacher and the student give, in a row; None leaves it as it is.
    """

    last: Tensor | None

    def __init__(
        self, teacher: nn.Module, student: nn.Module, *, softmax: bool, last: Float[Tensor, "o k2"] | None
    ) -> None:
        super().__init__()
        self.teacher, self.student, self.softmax = teacher, student, softmax
        self.register_buffer("last", last)

    @no_type_check  # traced by the exporter
    def forward(self, inputs: Tensor) -> Tensor:
        both = [logits_of(model(inputs)) for model in (self.teacher, self.student)]
        if self.softmax:
            both = [logits.softmax(1) for logits in both]
        joined = torch.cat(both, 1)
        return joined if self.last is None else nn.functional.linear(joined, self.last)


def ordered_pairs(classes: int, chosen: int | None = None) -> list[tuple[int, int]]:
    """(k, j) for every class k, or the chosen one, and every other class j: the pairs of the form "margins"."""
    return [(k, j) for k in range(classes) if chosen in (None, k) for j in range(classes) if j != k]


def last_layer(form: Form, classes: int, chosen: int | None = None) -> Float[Tensor, "o k2"] | None:
    """The product's last layer: which differences it gives, if any."""
    own = torch.eye(classes)
    if form == "softmax":
        return torch.cat([own, -own], 1)  # not a subtraction: fewer tools read one of two variables
    if form == "top1":
        return None
    margins = torch.stack([own[k] - own[j] for k, j in ordered_pairs(classes, chosen)])
    none = torch.zeros_like(margins)
    rows = [torch.cat(row, 1) for row in ((margins, none), (none, margins), (margins, -margins))]
    return torch.cat(rows)


def export_product(
    teacher: nn.Module,
    student: nn.Module,
    path: Path,
    examples: Float[Tensor, "b ..."],
    form: Form,
    chosen: int | None = None,
) -> int:
    """Write the product network: one input "inputs" (1, *shape) in the data's range, one output "outputs", float32.

    The file is compared with the two networks on the examples. They are left as they were.

    Args:
        chosen: with "margins", the only class k whose pairs are wanted.

    Returns:
        The number of classes.

    Raises:
        InputError: networks with different classes, one class, or a chosen one that they do not have; a network
            that cannot be exported; answers of onnxruntime that differ.
    """
    one, other = (copy.deepcopy(model).float().cpu().eval() for model in (teacher, student))
    inputs = examples.detach().cpu().float()
    with torch.no_grad():
        both = [logits_of(model(inputs)) for model in (one, other)]
    classes = both[0].shape[1]
    if both[1].shape[1] != classes or classes < 2:
        raise InputError(
            f"teacher and student must tell the same classes apart, two or more: found {classes} and "
            f"{both[1].shape[1]}"
        )
    if chosen is not None and not 0 <= chosen < classes:
        raise InputError(f"class must be one of 0..{classes - 1}, found {chosen}")
    if form == "softmax":
        both = [logits.softmax(1) for logits in both]
    last = last_layer(form, classes, chosen)
    product = Product(one, other, softmax=form == "softmax", last=last).eval()
    proto = to_onnx(product, inputs[:1], "the pair", output="outputs", any_batch=False)
    run = Reference(proto, "the exported pair")
    found = torch.cat([run(one) for one in inputs.split(1)])
    expected = torch.cat(both, 1)
    worst = difference(found, expected if last is None else expected @ last.T)
    if not worst <= AGREES:
        raise InputError(
            f"the exported pair differs from the two networks by {worst:.3g} of its largest output "
            f"(allowed: {AGREES:g}): nothing was written"
        )
    write_atomically(path, proto)
    return classes
