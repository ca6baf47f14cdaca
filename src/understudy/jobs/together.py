"""Whether a method, its data and its models go together, told before anything is trained or written."""

from __future__ import annotations

import torch
from torch import nn

from understudy.data.dataset import DataSet
from understudy.data.text import TokenSet
from understudy.errors import InputError
from understudy.jobs.request import TrainingRequest
from understudy.objectives.base import Objective


def check_together(
    request: TrainingRequest,
    objective: Objective,
    data: DataSet,
    teacher: nn.Module | None,
    student: nn.Module,
) -> None:
    """InputError if labels are not of the kind that is needed, a graph is missing, or weights are not float32."""
    if objective.needs.labels and data.labels is None and not isinstance(data, TokenSet):
        raise InputError(f"method {request.method!r} needs labels, and data set {data.name!r} has none")
    if objective.needs.labels and objective.needs.multi_label != data.multi_label:
        borne = ("one label", "several labels")[data.multi_label]
        wanted = ("one", "several, as (examples, classes) of 0 and 1")[objective.needs.multi_label]
        other = "" if objective.needs.multi_label else "; see binary_relevance and l2d_multi_label"
        raise InputError(
            f"data set {data.name!r} bears {borne} an example, method {request.method!r} needs {wanted}{other}"
        )
    for who, module in (("teacher", teacher), ("student", student)):
        for name, weight in () if module is None else module.named_parameters():
            if weight.is_floating_point() and weight.dtype != torch.float32:
                raise InputError(
                    f"training runs in float32, the {who}'s {name} is {weight.dtype}: convert it"
                )
    if objective.needs.edges and data.edges is None:
        raise InputError(f"method {request.method!r} needs a graph, and data set {data.name!r} has no edges")
    welcome = objective.needs.unlabelled or (data.edges is not None and objective.needs.graph_labels)
    if data.partly and not welcome and objective.needs.labels:
        raise InputError(f"method {request.method!r} needs every label, and {data.name!r} lacks some of them")
