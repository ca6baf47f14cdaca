"""What `certifier.py` kept, in Markdown."""

from __future__ import annotations

from typing import Any

from certifier_rows import EARLY, QUOTED


def table(rows: list[dict[str, Any]]) -> str:
    """All of it in Markdown."""
    columns = ("pair, ε, s a point", "attack", "lower", "upper", "**gap**", "to reach", "prototype (quoted)",
               "peers (quoted)", "closed", "nodes", "nodes/s", f"gap in {EARLY:g} s", "memory, MiB")  # fmt: skip
    lines = [columns, ("---", *["---:"] * (len(columns) - 1))]
    for row in rows:
        label = f"{row['pair']} {row['eps']:g}, {row['seconds']:g} s"
        extra = [row["mode"]] * (row["mode"] != "exact") + [row["device"]] * (row["device"] != "cpu")
        extra += [f"{row['threads']} threads"] * (row["threads"] != 1)
        early = "–" if row["device"] != "cpu" else reached(row["early_gap"], row["early_target"])
        lines.append((
            " ".join([label, *([f"({', '.join(extra)})"] if extra else [])]),
            *(f"{row[key]:.4f}" for key in ("attack", "lower", "upper")),
            f"**{row['gap']:.5f}**", reached(row["gap"], row["target"], alone=True),
            *(shown(row["quoted"][key]) for key in ("prototype_gap", "peers_gap")),
            f"{row['closed']} of {row['count']}", f"{row['nodes']:,}", f"{row['nodes_a_second']:,.0f}", early,
            str(row["memory_mib"]["peak"] or "–"),
        ))  # fmt: skip
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    parts = ["Means over the points; the gap is mean upper less mean lower. " + QUOTED + "\n", text]
    parts += [scaling_table(rows), peer_table(rows)]
    return "\n".join(part for part in parts if part)


def shown(gap: float | None) -> str:
    return "–" if gap is None else f"{gap:g}"


def reached(gap: float, target: float | None, alone: bool = False) -> str:
    """The target (`alone`) or the gap and its target, and whether it was reached."""
    if target is None:
        return "–" if alone else f"{gap:.4f}"
    verdict = f"{target:g} {'✓' if gap <= target else '✗'}"
    return verdict if alone else f"{gap:.4f} (to reach {verdict})"


def scaling_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in (r for r in rows if "scaling" in r):
        machine = row["scaling"]["machine"]
        for count, found in row["scaling"]["threads"].items():
            cells = (
                f"{row['pair']} {row['eps']:g} ({row['mode']}, {row['device']})",
                count,
                f"{found['nodes_a_second']:,.0f}",
                f"{found['ratio']:.2f} ({found['least']:.2f}–{found['most']:.2f})",
                f"{machine['load'][0]:g} on {machine['cores']} cores",
            )
            lines.append("| " + " | ".join(cells) + " |\n")
    head = ("pair, ε", "threads", "nodes a wall second", "times the first", "load afterwards")
    start = "| " + " | ".join(head) + " |\n" + "| --- " + "| ---: " * 4 + "|\n"
    return start + "".join(lines) if lines else "Scaling over threads was not measured (`--threads 1 2`).\n"


def peer_table(rows: list[dict[str, Any]]) -> str:
    measured = [row for row in rows if "auto_LiRPA" in row]
    if not measured:
        said = "**auto_LiRPA was not measured side by side: it is not installed here.**"
        return said + " What is told of it is quoted.\n"
    names = list(measured[0]["auto_LiRPA"]["upper"])
    lines = [("pair, ε", *(f"{name}: upper" for name in names), "its gap", "ours", "its s a point")]
    lines.append(("---", *["---:"] * (len(lines[0]) - 1)))
    for row in measured:
        upper, taken = row["auto_LiRPA"]["upper"], row["auto_LiRPA"]["seconds_a_point"]
        gap = upper["best per class"] - row["lower"]
        values = (f"{row['pair']} {row['eps']:g}", *(f"{upper[name]:.4f}" for name in names))
        lines.append(
            (*values, f"{gap:.4f}", f"{row['gap']:.4f}", " + ".join(f"{s:.2f}" for s in taken.values()))
        )
    missing = [f"{r['pair']} {r['eps']:g}" for r in rows if "auto_LiRPA" not in r]
    said = f"auto_LiRPA {measured[0]['auto_LiRPA']['version']}, measured side by side:\n\n"
    said += "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return said + (f"\n**Not measured with auto_LiRPA:** {', '.join(missing)}.\n" if missing else "")
