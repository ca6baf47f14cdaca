"""Tables, and ProPublica's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from understudy.data.resolve import load_data
from understudy.data.tabular import COMPAS_FEATURES, Table, columns_of, load_compas
from understudy.errors import InputError


def table(rows: int = 5) -> Table:
    return Table(
        "t", "train", torch.arange(2.0 * rows).view(rows, 2) / 100, torch.arange(rows) % 2,
        features=("a", "b"), scores=torch.arange(float(rows)),
    )  # fmt: skip


def test_scores_go_with_their_rows() -> None:
    whole = table()
    for part, index in ((whole.take(2), [0, 1]), (whole.rows(torch.tensor([4, 1])), [4, 1])):
        assert part.scores is not None
        assert part.scores.tolist() == index
        assert torch.equal(part.stored, whole.stored[index])
        assert part.features == ("a", "b")
    left, off = whole.split_off(0.4, 0)
    assert isinstance(left, Table)
    assert isinstance(off, Table)
    assert left.scores is not None
    assert torch.equal(left.scores, (left.stored[:, 0] * 50).round())


def test_the_fingerprint_knows_scores_and_names() -> None:
    whole = table()
    other = [
        replace(whole, scores=None),
        replace(whole, features=("a", "c")),
        replace(whole, scores=torch.ones(5)),
    ]
    assert len({whole.fingerprint(), *(one.fingerprint() for one in other)}) == 4
    assert table().fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ("a",)}, "2 columns need as many different names, found a"),
        ({"features": ("a", "a")}, "as many different names"),
        ({"scores": torch.ones(4)}, "every row needs one finite score"),
        ({"scores": torch.full((5,), float("nan"))}, "every row needs one finite score"),
        ({"stored": torch.zeros(5, 2, 1)}, "rows must be"),
    ],
)
def test_what_is_no_table(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(table(), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one"):
        table().take(0)


def test_columns_have_names_everywhere() -> None:
    assert columns_of(table()) == ("a", "b")
    assert columns_of(load_data("digits"))[-1] == "x63"


@pytest.mark.data
def test_compas_is_what_propublica_kept(data_root: Path) -> None:
    """Counted again here from the file, column by column."""
    raw = pq.read_table(data_root / "compas" / "train-00000-of-00001.parquet").to_pandas()
    days = raw["days_b_screening_arrest"]
    kept = raw[(days <= 30) & (days >= -30) & (raw["is_recid"] != -1) & (raw["c_charge_degree"] != "O")]
    kept = kept[kept["score_text"] != "N/A"]
    assert len(kept) == 6172
    train, test = (load_data("compas", split, data_root=data_root) for split in ("train", "test"))
    assert isinstance(train, Table)
    assert isinstance(test, Table)
    assert (len(train), len(test)) == (4320, 1852)
    inputs = torch.cat([train.inputs(slice(None)), test.inputs(slice(None))])
    labels = torch.cat([part.labels for part in (train, test) if part.labels is not None])
    scores = torch.cat([part.scores for part in (train, test) if part.scores is not None])
    assert float(inputs.min()) >= 0
    assert float(inputs.max()) <= 1
    assert torch.equal(labels.bincount(), torch.tensor(np.bincount(kept["two_year_recid"])))
    assert torch.equal(scores.long().bincount(), torch.tensor(np.bincount(kept["decile_score"])))
    named = dict(zip(COMPAS_FEATURES, inputs.double().T, strict=True))
    assert float(named["age"].mul(78).add(18).mean()) == pytest.approx(kept["age"].mean(), abs=1e-3)
    assert float(named["priors"].mul(np.log(40)).expm1().sum()) == pytest.approx(
        kept["priors_count"].sum(), abs=1
    )
    for column, race in (("african_american", "African-American"), ("hispanic", "Hispanic")):
        assert int(named[column].sum()) == int((kept["race"] == race).sum())
    assert int(named["male"].sum()) == int((kept["sex"] == "Male").sum())
    assert int(named["felony"].sum()) == int((kept["c_charge_degree"] == "F").sum())
    assert test.fingerprint() != train.fingerprint()
    assert load_data("compas", "test", data_root=data_root).fingerprint() == test.fingerprint()


def test_compas_without_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)
    with pytest.raises(InputError, match="Give a folder ROOT that holds compas/train"):
        load_data("compas")
    with pytest.raises(InputError, match="has no train-"):
        load_data("compas", data_root=tmp_path)
    with pytest.raises(InputError, match="split of compas"):
        load_data("compas", "validation", data_root=tmp_path)


def test_compas_from_another_table(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"age": [30]}), file)
    with pytest.raises(InputError, match="column of compas 'sex'"):
        load_compas([file], "train")
    file.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_compas([file], "train")
