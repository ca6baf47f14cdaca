"""What does a black box weigh otherwise than the outcome does, and what has it seen that the table has not?

Distill-and-Compare (arXiv 1710.06169). First a control in which the answer is known: a score that is made of two
features, audited with both of them and with one. Then COMPAS (ProPublica's table, if a folder of data sets is named):
the decile score against arrests within two years.

    python examples/distill_and_compare.py --data-root FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.tabular import Table


def made_up(seed: int, rows: int) -> Table:
    """Two features; the outcome follows their sum, the score is the sum with noise of its own."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, 2, generator=draw)
    logit = 4 * (x.sum(1) - 1)
    outcome = (torch.rand(rows, generator=draw) < logit.sigmoid()).long()
    score = logit + 0.5 * torch.randn(rows, generator=draw)
    return Table("made up", "train", x, outcome, features=("first", "second"), scores=score)


def audited(data: DataSet, options: dict[str, str], seed: int) -> dict[str, Any]:
    """The recipe's report on a table with recorded scores: no teacher can be asked."""
    with tempfile.TemporaryDirectory() as folder:
        us.distill(
            None, None, data, method="distill_and_compare", options=options, seed=seed, out=folder + "/run"
        )
        found: dict[str, Any] = json.loads(Path(folder, "run", "report.json").read_text())
    return found


def said(missing: dict[str, float]) -> str:
    return (
        f"T {missing['correlation']:.3f} (permuted sd {missing['null_sd']:.3f}, p {missing['p']:.3f}), outcome's "
        f"log-loss {missing['log_loss']:.3f}, with the score {missing['log_loss_with_score']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default=os.environ.get("UNDERSTUDY_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--bags", type=int, default=20)
    args = parser.parse_args()
    few = {"bags": "2", "kind": "linear"}
    for seed in range(args.seeds):
        for seen in ("first", "first,second"):
            found = audited(made_up(seed, args.rows), {**few, "features": seen}, seed)
            print(f"made up, seed {seed}, audited with {seen:<13} {said(found['missing_features'])}")
    if args.data_root is None:
        print("COMPAS: name a folder of data sets by --data-root or UNDERSTUDY_DATA")
        return
    compas = us.load_data("compas", data_root=args.data_root)
    for kind in ("linear", "boosted"):
        reports = [
            audited(compas, {"kind": kind, "bags": str(args.bags)}, seed) for seed in range(args.seeds)
        ]
        first = reports[0]
        if kind == "linear":
            print("COMPAS: arrested again, by decile:", *(f"{rate:.3f}" for rate in first["rates"]["rates"]))
        for seed, found in enumerate(reports):
            fidelity = found["fidelity"]
            print(
                f"COMPAS, {kind}, seed {seed}: student's R2 {fidelity['r2']:.3f}; AUC of outcome model "
                f"{fidelity['auc_outcome']:.3f}, score {fidelity['auc_score']:.3f}; {said(found['missing_features'])}"
            )
        for term in first["terms"]:
            apart = sum(term["differs"])
            print(
                f"  {term['feature']:<17} score {term['weight_score']:6.2f}  outcome {term['weight_outcome']:6.2f}   "
                f"apart at {apart} of {len(term['values'])} values"
            )


if __name__ == "__main__":
    main()
