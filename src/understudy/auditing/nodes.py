"""The audit of a graph: its points are the nodes that bear a label in the split.

A pair of which neither reads a node's neighbours is audited on their features as on any data. Where one does, a point's
input is the node's number, and both models are shown the whole graph at every question.
"""

from __future__ import annotations

from dataclasses import replace

from understudy.data.dataset import DataSet
from understudy.data.graphs import labelled_nodes
from understudy.errors import InputError
from understudy.models.gcn import InGraph, asked_at_once
from understudy.models.opening import LoadedModel


def reads_neighbours(teacher: LoadedModel, student: LoadedModel) -> str:
    """Who of the two is asked about a whole graph, in words; "" if neither is."""
    found = {"teacher": asked_at_once(teacher.module, 0), "student": asked_at_once(student.module, 0)}
    return " and ".join(
        f"the {who} answers for a graph of {nodes} nodes" for who, nodes in found.items() if nodes
    )


def at_nodes(
    teacher: LoadedModel, student: LoadedModel, data: DataSet
) -> tuple[LoadedModel, LoadedModel, DataSet]:
    """The pair and the points to audit it at; what is no graph is given back as it is.

    Raises:
        InputError: a graph network and data that are no graph.
    """
    network = reads_neighbours(teacher, student)
    if data.edges is None:
        if network:
            raise InputError(f"{network}, and data set {data.name!r} is no graph")
        return teacher, student, data
    rows = labelled_nodes(data)
    if not network:
        return teacher, student, data.rows(rows)
    numbers = DataSet(
        data.name,
        data.split,
        rows[:, None].float(),
        None if data.labels is None else data.labels[rows],
        classes=data.classes,
        high=float(max(len(data) - 1, 1)),
        class_names=data.class_names,
    )
    features = data.inputs(slice(None))
    first, second = (replace(model, module=InGraph(model.module, features)) for model in (teacher, student))
    return first, second, numbers
