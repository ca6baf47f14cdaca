"""The page: one self-contained HTML file that opens from disk and asks nothing of the network.

Charts are inline SVG, images PNG data URIs; colours follow the reader's light or dark preference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from understudy.auditing.record import AuditRecord
from understudy.errors import InputError
from understudy.report.audit_page import audit_document
from understudy.report.compare_page import compare_document
from understudy.report.layout import save
from understudy.report.worst import WorstCase

__all__ = ["WorstCase", "write_audit_page", "write_compare_page"]


def write_audit_page(
    path: str | PathLike[str],
    record: AuditRecord,
    worst: Sequence[WorstCase],
    maps: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the page of one audit to `path`.

    `worst`: the witnesses to show, in the order given. `maps`: "inputs" (K, c, h, w) and "maps" (K, models, h, w) of
    the inputs that `record.copied.attention.shown` names; without them these are not drawn. `record.summary` has a row
    an eps, ascending, and every point has its radii in the same order. Raises InputError if the record holds no point
    or no radius, if points and summary do not fit, or if the file cannot be written; then nothing is left behind.
    """
    if not record.points or not record.summary:
        raise InputError(
            f"an audit's page needs at least one point and one radius, found {len(record.points)} points and "
            f"{len(record.summary)} radii"
        )
    grid = [row.eps for row in record.summary]
    for point in record.points:
        if [one.eps for one in point.radii] != grid:
            raise InputError(
                f"point {point.index} has radii {[one.eps for one in point.radii]}, the summary has {grid}"
            )
    save(Path(path), audit_document(record, worst, maps or {}))


def write_compare_page(
    path: str | PathLike[str],
    compare: Mapping[str, Any],
    audits: Mapping[str, Sequence[AuditRecord]],
    worst: Mapping[str, Sequence[WorstCase]],
) -> None:
    """Write the page of a comparison to `path`.

    `compare`: the content of compare.json (`rows` of method, seed, metric, value; `summary` of method,
    metric, mean, low, high, verdict; `settings`, `environment`). A metric at a radius is called `name@eps`.
    `audits`: the audits of each method, one a seed, in the order the methods are to be shown; `worst`: the
    witnesses to show for each. Raises InputError if there is nothing to compare or the file cannot be
    written.
    """
    if not compare.get("rows") or not any(audits.values()):
        raise InputError(
            f"a comparison's page needs rows and audits, found {len(compare.get('rows') or [])} rows "
            "and audits "
            f"of {sum(bool(seeds) for seeds in audits.values())} methods"
        )
    save(Path(path), compare_document(compare, audits, worst))
