"""The page of an experiment: the claim, the sentence on it, a figure an axis, and every number with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from understudy.experiments.base import Experiment, Result, Scale, Setting, Summary
from understudy.report.forest import Entry, forest
from understudy.report.layout import brand, document, named, panels, save, section
from understudy.report.marks import slot
from understudy.report.markup import Markup, el, join
from understudy.report.plot import panel
from understudy.report.tables import cell, pairs, table
from understudy.report.words import count, interval, number, percent, sentence
from understudy.version import __version__


def write_page(
    path: Path, of: Experiment[Any, Any], scale: Scale, settings: Sequence[Setting], result: Result
) -> None:
    """Write the page of a finished experiment to `path`; InputError if it cannot be written."""
    header = join(
        brand(f"experiment: a claim of {result.paper}"),
        el("h1", f"“{result.claim}”"),
        el("p", result.sentence, class_="asked"),
    )
    sections = [
        _claim(of, result),
        _figures(of, settings, result),
        *of.sections(scale, settings, result),
        _numbers(of, settings, result),
    ]
    sections.append(
        section(
            "How it was run",
            pairs("Settings", [*named(asdict(scale)), ("seeds run", ", ".join(map(str, result.seeds)))]),
            lead=f"{result.paper}. Rows of every seed are in rows.jsonl.",
        )
    )
    foot = f"understudy {__version__}, experiment {result.name}."
    save(path, document(f"Experiment: {result.name}", header, sections, foot))


def _claim(of: Experiment[Any, Any], result: Result) -> Markup:
    rows = []
    for one in result.findings:
        mean = f"{100 * one.mean:+.1f} points" if one.share else number(one.mean)
        rows.append(
            [
                el("th", sentence(one.name), scope="row"),
                el("td", one.said, class_="said"),
                cell(mean.replace("-", "−"), interval((one.low, one.high), one.share)),
                el("td", one.verdict),
            ]
        )
    return section(
        "Did the claim appear?",
        el("p", of.parts, class_="prose"),
        table("Parts of the claim", ["Part", "It holds if this is above 0", "Found", "Verdict"], rows),
        lead="A part appeared if its whole 95% interval over seeds lies above 0, did not if none of it does. "
        "The intervals are not widened for there being several parts.",
    )


def _figures(of: Experiment[Any, Any], settings: Sequence[Setting], result: Result) -> Markup:
    found = {(one.setting, one.metric): one for one in result.summary}
    shown = of.metrics[of.drawn]
    drawn = []
    for axis in dict.fromkeys(axis for one in settings for axis in one.axes):
        there = _along(axis, settings)
        entries = [
            _entry(one.axes[axis], "si" if one is settings[0] else slot(0), 0, found[one.name, of.drawn])
            for one in there
            if (one.name, of.drawn) in found
        ]
        entries += [
            _entry(label, "st", 1, found[settings[0].name, metric]) for metric, label in of.beside.items()
        ]
        title = sentence(axis)
        metric = (
            "agreement" if shown.share else "value"
        )  # how `forest` reads the numbers: as shares, or plain
        drawn.append(panel(title, forest(title, metric, entries), f"{sentence(shown.label)}."))
    return section(
        sentence(shown.label),
        panels(*drawn),
        lead=f"Large marks are means over {count(len(result.seeds), 'seed')} with their 95% intervals, small ones "
        "single seeds; in ink the setting that all others depart from.",
    )


def _along(axis: str, settings: Sequence[Setting]) -> list[Setting]:
    return sorted((one for one in settings if axis in one.axes), key=lambda one: one.places.get(axis, 0.0))


def _entry(label: str, colour: str, shape: int, one: Summary) -> Entry:
    return Entry(label, colour, shape, list(one.seeds), one.mean, one.low, one.high, None)


def _numbers(of: Experiment[Any, Any], settings: Sequence[Setting], result: Result) -> Markup:
    found = {(one.setting, one.metric): one for one in result.summary}
    rows = []
    for setting in settings:
        cells: list[str] = [el("th", setting.name, scope="row")]
        for name, metric in of.metrics.items():
            one = found.get((setting.name, name))
            if one is None:  # a metric that this setting does not have
                cells.append(cell("–"))
                continue
            mean = percent(one.mean) if metric.share else number(one.mean)
            cells.append(cell(mean.replace("-", "−"), interval((one.low, one.high), metric.share)))
        rows.append(cells)
    heads = ["Setting", *(sentence(metric.label) for metric in of.metrics.values())]
    lead = "Means over seeds, their 95% intervals beneath. An interval of few seeds may reach past what a share can be."
    return section("Every number", table("Every setting", heads, rows), lead=lead)
