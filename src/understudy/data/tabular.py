"""Tables: features with names, an outcome to be told, and the score that somebody else's black box gave each row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.dataset import DataSet
from understudy.errors import InputError, unknown

COMPAS_FEATURES = (
    "age", "priors", "stay", "felony", "male", "african_american", "hispanic", "other_race",
)  # fmt: skip
COMPAS_OUTCOMES = ("not arrested again", "arrested again")
COMPAS_TEST = 1852
_COLUMNS = (
    *("age", "sex", "race", "priors_count", "c_charge_degree", "c_jail_in", "c_jail_out", "decile_score"),
    *("score_text", "days_b_screening_arrest", "is_recid", "two_year_recid"),
)


@dataclass(frozen=True, eq=False)
class Table(DataSet):
    """A `DataSet` of rows (N, D).

    Attributes:
        features: a name a column.
        scores: (N,) what a black box that cannot be asked has answered for each row, larger for the higher class;
            None where there is none.

    Raises:
        InputError: as `DataSet`; or names and scores do not go with the rows.
    """

    features: tuple[str, ...] = ()
    scores: Float[Tensor, " m"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stored.dim() != 2:
            raise InputError(f"table {self.name!r}: rows must be (N, D), found {tuple(self.stored.shape)}")
        if len(set(self.features)) != len(self.features) or len(self.features) != self.stored.shape[1]:
            raise InputError(
                f"table {self.name!r}: {self.stored.shape[1]} columns need as many different names, found "
                f"{', '.join(self.features) or 'none'}"
            )
        if self.scores is not None and (
            len(self.scores) != len(self.stored) or not self.scores.isfinite().all()
        ):
            raise InputError(f"table {self.name!r}: every row needs one finite score, or none has any")

    def take(self, count: int) -> Table:
        """The first `count` rows, or all of them if there are fewer."""
        if count < 1:
            raise InputError(f"a data set must keep at least one example, asked for {count}")
        return self.rows(torch.arange(min(count, len(self))))

    def rows(self, index: Int[Tensor, " b"]) -> Table:
        """The rows at the given places, in that order, with their scores."""
        labels = None if self.labels is None else self.labels[index]
        scores = None if self.scores is None else self.scores[index]
        return replace(self, stored=self.stored[index], labels=labels, scores=scores)

    def fingerprint(self) -> str:
        """As `DataSet.fingerprint`, over names and scores too."""
        digest = hashlib.sha256(f"{super().fingerprint()} {self.features}".encode())
        if self.scores is not None:
            digest.update(self.scores.contiguous().numpy().tobytes())
        return digest.hexdigest()


def columns_of(data: DataSet) -> tuple[str, ...]:
    """What each input value of a data set is called: a table's names, else x0, x1, ... in storage order."""
    if isinstance(data, Table):
        return data.features
    return tuple(f"x{place}" for place in range(int(np.prod(data.shape))))


def load_compas(files: Sequence[Path], split: str) -> Table:
    """ProPublica's two-year COMPAS table: 4,320 rows for training, 1,852 for testing, features in [0, 1].

    Rows are kept as ProPublica kept them (6,172 of 7,214): screened within 30 days of the arrest, known outcome,
    charge neither ordinary traffic nor without a score. Features, each one increasing in what it is named after:
    age (18..96 to 0..1), log(1 + priors) and log(1 + days in jail) (over log 40 and log 1001), felony, male, and race
    as three indicators beside Caucasian. Label: arrested again within two years. Score: the decile, 1..10. The split
    is fixed, stratified by label and in random order, as that of digits.

    Args:
        files: parquet files with ProPublica's columns.

    Raises:
        InputError: a file cannot be read, lacks columns, or holds nothing that is kept.
    """
    from sklearn.model_selection import train_test_split

    found = _read(files)
    kept = [row for row in found if _counts(row)]
    if len(kept) <= COMPAS_TEST:
        raise InputError(f"compas: {len(kept)} rows fit the filter, more than {COMPAS_TEST} are needed")
    outcome = np.array([row["two_year_recid"] for row in kept])
    rows = train_test_split(np.arange(len(kept)), test_size=COMPAS_TEST, stratify=outcome, random_state=0)[
        ("train", "test").index(split)
    ]
    inputs = np.array([_features(kept[row]) for row in rows], dtype=np.float32)
    scores = np.array([kept[row]["decile_score"] for row in rows], dtype=np.float32)
    return Table(
        "compas",
        split,
        torch.from_numpy(inputs),
        torch.from_numpy(outcome[rows].astype(np.int64)),
        classes=2,
        class_names=COMPAS_OUTCOMES,
        features=COMPAS_FEATURES,
        scores=torch.from_numpy(scores),
    )


def _read(files: Sequence[Path]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            names = pq.read_schema(file).names
            for column in _COLUMNS:
                if column not in names:
                    raise InputError(f"{file}: {unknown('column of compas', column, names)}")
            rows += pq.read_table(file, columns=list(_COLUMNS)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} is not a readable parquet file: {error}") from error
    return rows


def _counts(row: dict[str, Any]) -> bool:
    days = row["days_b_screening_arrest"]
    screened = days is not None and abs(days) <= 30
    known = row["is_recid"] != -1 and row["two_year_recid"] in (0, 1)
    return bool(screened and known and row["c_charge_degree"] != "O" and row["score_text"] != "N/A")


def _features(row: dict[str, Any]) -> list[float]:
    first, last = (np.datetime64(str(row[name])[:10]) for name in ("c_jail_in", "c_jail_out"))
    stay = max(0, int((last - first) / np.timedelta64(1, "D")))
    return [
        (min(max(row["age"], 18), 96) - 18) / 78,
        min(1.0, float(np.log1p(row["priors_count"]) / np.log(40))),
        min(1.0, float(np.log1p(stay) / np.log(1001))),
        float(row["c_charge_degree"] == "F"),
        float(row["sex"] == "Male"),
        float(row["race"] == "African-American"),
        float(row["race"] == "Hispanic"),
        float(row["race"] not in ("African-American", "Caucasian", "Hispanic")),
    ]
