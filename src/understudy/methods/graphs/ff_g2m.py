"""FF-G2M: extracting low-/high-frequency knowledge from GNNs into MLPs (Wu et al., arXiv 2305.10758, AAAI 2023).

A network that reads single nodes learns from one that reads the graph: to say what the teacher says next door (low
frequency), and to differ from its neighbours as the teacher does (high frequency). Deployed, it needs no edges.

    E+ = E and one self-loop a node;  d_ij = |z_i - z_j|, one number a class                z, zT: logits (N, C)
    L_low  = mean over (i, j) in E+ of KL(softmax(zT_j) || softmax(z_i))
    L_high = mean over (i, j) in E  of KL(softmax(dT_ij / tau) || softmax(d_ij / tau))      no factor tau^2
    lambda CE(z, y) + (1 - lambda) (L_low + L_high)                                         CE: mean over labelled nodes

Defaults are the released parameters for Cora with a GCN teacher; they were tuned for each data set and teacher.

Needs: a graph (`batch.edges`), whole; both models' logits of every node; labels of some nodes unless lambda = 0.
Cost: (4 E + N) C numbers a step; the teacher is asked once a step, which for a graph network is a pass over the graph.
Known failures: L_low is lowest at the mean of the teacher's confidences next door, not at the teacher: an edge between
two classes teaches both wrong. L_high alone tells no class from another: with lambda = 0 and without L_low the student
stays near chance. Identical neighbours get no gradient from it.
Reconstructed: the released code stops early by the validation nodes and has 3 layers of 512 units for Cora; here the
last epoch counts. An edge's value is booked to the node that it leaves, weighted so that means over nodes are means
over edges; the paper's separate temperatures are one, as in the code.

Measured (`examples/ff_g2m.py`: Cora, three seeds, 2 layers of 64 units, 200 epochs; accuracy on the 1,000 test nodes):
the graph network 0.805, labels alone 0.594, the teacher at the node itself (GLNN) 0.787, labels and L_low 0.785, labels
and L_high 0.609, L_high alone 0.135 (chance), all of it 0.788: no gain over GLNN in accuracy, as far as three seeds
tell. What the edges do change: L_high itself, at the end, is 0.101 in full, 0.148 of GLNN, 0.150 with L_low, 0.218 of
labels alone; neighbours' confidences lie 0.515, 0.580, 0.530 and 0.845 apart (the teacher's 0.412). Taught with the
answers of other nodes L_low gives 0.476 and the whole 0.470, worse than labels alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.graphs import high_frequency, low_frequency, neighbour_mean
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class FFG2M(Method):
    """Full-frequency GNN-to-MLP distillation.

    Attributes:
        lambda_hard: lambda, share of the labels; at 0 none are needed, at 1 the teacher has no say.
        tau: temperature of the differences between neighbours.
        low: weight of the low frequency beside 1 - lambda; 1 in the paper, 0 leaves it out.
        high: weight of the high frequency, likewise.
    """

    lambda_hard: float = 0.4
    tau: float = 1.5
    low: float = 1.0
    high: float = 1.0

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"low": "elsewhere", "hard": "right label"}

    def __post_init__(self) -> None:
        check_number("lambda_hard", self.lambda_hard, 0.0, 1.0)
        check_number("tau", self.tau, 0.0, above=True)
        check_number("low", self.low, 0.0)
        check_number("high", self.high, 0.0)
        if self.low == self.high == 0:
            raise InputError("low and high are both 0: nothing of the teacher is left")

    @property
    def needs(self) -> Needs:
        """A whole graph, both models on all its nodes; labels of some unless lambda = 0."""
        return Needs(labels=self.lambda_hard > 0, graph_labels=True, whole_batch=True, edges=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"low", "high", "hard"}: (N,) each, those of weight above 0."""
        t, s, edges, share = teacher.logits, student.logits, _edges(batch), 1 - self.lambda_hard
        terms = {}
        if self.low > 0:
            terms["low"] = self.low * share * low_frequency(t, s, edges)
        if self.high > 0:
            terms["high"] = self.high * share * high_frequency(t, s, edges, self.tau)
        if self.lambda_hard > 0:
            terms["hard"] = self.lambda_hard * label_loss(s, batch)
        return terms

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """Logits at which the low frequency is lowest: the mean of the teacher's confidences next door."""
        return neighbour_mean(teacher.logits, _edges(batch)).log()


def _edges(batch: Batch) -> Tensor:
    if batch.edges is None:
        raise InputError("ff_g2m needs a graph: a data set with edges, shown whole")
    return batch.edges
