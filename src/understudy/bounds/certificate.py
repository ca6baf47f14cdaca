"""`Certificate`: all that a stranger needs to prove D(x, eps) <= upper again, as one file of plain arrays.

The format is described in docs/certificate-format.md; `bounds/checker` reads it without this module.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int8, Int32, Int64, UInt8

from understudy.bounds.description import Array, Network, NetworkNode, outline
from understudy.errors import InputError
from understudy.models.saved import write_atomically
from understudy.version import __version__

FORMAT, VERSION = "understudy-certificate", 1
NETS = ("teacher", "student")


@dataclass(frozen=True, eq=False)
class Queries:
    """What is bounded: p^T_k - p^S_k for sign +1, p^S_k - p^T_k for sign -1; every class with both signs."""

    label: Int32[np.ndarray, " q"]
    sign: Int8[np.ndarray, " q"]


@dataclass(frozen=True, eq=False)
class Tree:
    """All search trees in one table, parents before children.

    Attributes:
        parent: -1 for a root, of which every query has one.
        kind: 0 root, 1 ReLU of the teacher, 2 ReLU of the student, 3 margin z_index - z_other of the lowered
            net, 4 log-odds of the raised net, 5 minus the log-odds of the lowered net.
        layer: ordinal of the ReLU in its network; -1 where it has no meaning, as `index` and `other`.
        cut: 0 for a ReLU; side: +1 for >= cut, -1 for <= cut, 0 for a root.
        rebound: bit 1 (2): bound the teacher's (student's) open neurons behind the split again, bit 4: the
            lowered net's margins with `reference` (-1 without that bit).
        leaf: which row of `Leaves`; -1 for an inner node, or a leaf that needs no parameters.
    """

    parent: Int32[np.ndarray, " n"]
    query: Int32[np.ndarray, " n"]
    kind: UInt8[np.ndarray, " n"]
    layer: Int32[np.ndarray, " n"]
    index: Int32[np.ndarray, " n"]
    other: Int32[np.ndarray, " n"]
    cut: Float64[np.ndarray, " n"]
    side: Int8[np.ndarray, " n"]
    rebound: UInt8[np.ndarray, " n"]
    reference: Int32[np.ndarray, " n"]
    leaf: Int32[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Leaves:
    """Free parameters, a row a leaf: any values are sound, good ones give a low bound.

    Attributes:
        w: weights >= 0 of the rivals of k in ascending order, scaled to sum 1 by the checker.
        rival: reference rival m of the lowered net, not k.
        v: slopes of the lowered net's log-sum-exp, a class each; entries of k and m are ignored.
        q_raised, q_lowered: slopes >= 0 of the sigmoids.
        teacher_slopes, student_slopes: lower slopes in [0, 1] of all ReLUs, in graph order, flattened.
        beta: multipliers >= 0, one a node below the root on the path to the leaf, from the root down; row i
            has those from beta_offsets[i] to beta_offsets[i + 1]. Only ReLU splits use theirs.
    """

    w: Float32[np.ndarray, "m rivals"]
    rival: Int32[np.ndarray, " m"]
    v: Float32[np.ndarray, "m c"]
    q_raised: Float32[np.ndarray, " m"]
    q_lowered: Float32[np.ndarray, " m"]
    teacher_slopes: Float16[np.ndarray, "m t"]
    student_slopes: Float16[np.ndarray, "m s"]
    beta_offsets: Int64[np.ndarray, " o"]
    beta: Float32[np.ndarray, " p"]


@dataclass(frozen=True, eq=False)
class RootSlopes:
    """Lower slopes for the bounds of one ReLU layer at the roots: rows' upper bounds first, then lower ones.

    Attributes:
        rows: flat neurons of the layer.
        slopes: in [0, 1], of the neurons of all earlier ReLUs of the network in graph order.
    """

    rows: Int32[np.ndarray, " r"]
    slopes: Float16[np.ndarray, "two_r e"]


@dataclass(frozen=True, eq=False)
class Proof:
    """The search's trees and parameters; `roots[net][ordinal]` holds the slopes of the roots' bounds."""

    queries: Queries
    tree: Tree
    leaves: Leaves
    roots: Mapping[str, Mapping[int, RootSlopes]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Certificate:
    """The claim that D(x, eps) <= upper around one input, with its proof.

    Attributes:
        networks: "teacher" and "student".
        input: x, float64, shaped as the networks' input; eps: l_inf radius; low, high: valid range.
        upper: the claim, for all classes and both signs.
        status: of the search, as in `PairBound`.
        shortened: leaves need to speak only of places where the difference exceeds `upper`: there neither
            network's confidence in the class can be near its far end, which shortens the sigmoids' ranges.
        proof: None where `checkable` is false.
    """

    networks: Mapping[str, Network]
    input: Float64[np.ndarray, ...]
    eps: float
    low: float
    high: float
    classes: int
    upper: float
    status: str
    proof: Proof | None
    shortened: bool = False

    @property
    def reason(self) -> str:
        """Why it cannot be checked, else ""."""
        reasons = [f"{net}: {self.networks[net].reason}" for net in NETS if self.networks[net].reason]
        return "; ".join(reasons) or ("" if self.proof is not None else "no proof was kept")

    @property
    def checkable(self) -> bool:
        return not self.reason

    def arrays(self) -> dict[str, Array]:
        """What the file holds: header (JSON as bytes) and arrays by name."""
        found: dict[str, Array] = {"input": self.input}
        if self.proof is not None and self.checkable:
            for net in NETS:
                for position, node in enumerate(self.networks[net].nodes):
                    for name, array in node.arrays.items():
                        found[f"{net}.{position}.{name}"] = array
                for ordinal, slopes in self.proof.roots.get(net, {}).items():
                    found |= _named(f"roots.{net}.{ordinal}", slopes)
            for part in ("queries", "tree", "leaves"):
                found |= _named(part, getattr(self.proof, part))
        header = json.dumps(self._header(), sort_keys=True, allow_nan=False).encode()
        return {"header": np.frombuffer(header, np.uint8), **found}

    def save(self, path: str | Path) -> None:
        """Write the file, all of it or nothing. The same certificate gives the same bytes."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **self.arrays())  # type: ignore[arg-type]  # numpy's stubs: allow_pickle
        write_atomically(path, stream.getvalue())

    def _header(self) -> dict[str, Any]:
        networks = {
            net: {
                "file": part.file,
                "sha256": part.digest,
                "nodes": outline(part) if self.checkable else [],
                "reason": part.reason,
            }
            for net, part in self.networks.items()
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "created_by": f"understudy {__version__}",
            "checkable": self.checkable,
            "reason": self.reason,
            "eps": self.eps,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "classes": self.classes,
            "upper": self.upper,
            "status": self.status,
            "shortened": self.shortened,
            "networks": networks,
        }


def load(path: str | Path) -> Certificate:
    """Read a file that `Certificate.save` wrote; its proof is not checked here.

    Raises:
        InputError: no certificate, or one of another version.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{path} is no certificate: {error}") from error
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path} is no certificate of version {VERSION}")
    try:
        return _assembled(header, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is a damaged certificate: {error!r}") from error


def _assembled(header: dict[str, Any], arrays: dict[str, Array]) -> Certificate:
    networks, roots = {}, {}
    for net in NETS:
        given = header["networks"][net]
        nodes = tuple(
            NetworkNode(
                node["op"],
                tuple(node["parents"]),
                tuple(node["shape"]),
                node["settings"],
                {name: arrays[f"{net}.{position}.{name}"] for name in node["arrays"]},
            )
            for position, node in enumerate(given["nodes"])
        )
        networks[net] = Network(nodes, given["file"], given["reason"])
        ordinals = [int(name.split(".")[2]) for name in arrays if name.startswith(f"roots.{net}.")]
        roots[net] = {i: _part(RootSlopes, f"roots.{net}.{i}", arrays) for i in sorted(set(ordinals))}
    proof = None
    if header["checkable"]:
        proof = Proof(_part(Queries, "queries", arrays), _part(Tree, "tree", arrays),
                      _part(Leaves, "leaves", arrays), roots)  # fmt: skip
    low, high = header["low"], header["high"]
    return Certificate(
        networks,
        arrays["input"],
        header["eps"],
        -math.inf if low is None else low,
        math.inf if high is None else high,
        header["classes"],
        header["upper"],
        header["status"],
        proof,
        header["shortened"],
    )


def _named(prefix: str, part: Any) -> dict[str, Array]:
    return {f"{prefix}.{one.name}": getattr(part, one.name) for one in fields(part)}


def _part(kind: Any, prefix: str, arrays: dict[str, Array]) -> Any:
    return kind(**{one.name: arrays[f"{prefix}.{one.name}"] for one in fields(kind)})
