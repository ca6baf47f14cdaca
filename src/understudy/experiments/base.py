"""`Experiment`: a paper's claim, the settings it is held against, what is measured in each, and how it is judged."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from understudy.errors import InputError
from understudy.experiments.findings import Finding, sentence_on
from understudy.experiments.rows import Row, Rows
from understudy.fidelity.intervals import mean_over_seeds
from understudy.jobs.progress import Progress
from understudy.training.folder import write_json

if TYPE_CHECKING:
    from understudy.report.markup import Markup


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large an experiment is. A subclass adds the sizes that it varies.

    Attributes:
        seeds: those that are run unless others are asked for.
        cost: how long it takes, in words.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    cost: str = "not stated"


@dataclass(frozen=True)
class Setting:
    """One training of the experiment: its name, and on which axes it lies, each with what it is called there.

    places: where it stands on an axis that has an order; the settings of an axis are drawn by them, ascending.
    """

    name: str
    axes: Mapping[str, str]
    places: Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """What a number of a row is called, and whether it is a share, shown in percent."""

    label: str
    share: bool = True


@dataclass(frozen=True)
class Summary:
    """One metric of one setting: mean over seeds and its 95 % interval (None with one seed), and every seed's value."""

    setting: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Result:
    """A finished experiment.

    Attributes:
        name, claim, paper: what was run.
        seeds: those that were asked for.
        rows: what was measured, one a setting and seed: setting, seed, seconds, and the metrics.
        summary: one a setting and metric that was measured in it.
        findings: one a part of the claim, with its interval and verdict.
        sentence: whether the claim appeared at this scale.
        folder: where rows.jsonl, result.json and report.html lie.
    """

    name: str
    claim: str
    paper: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    findings: tuple[Finding, ...]
    sentence: str
    folder: Path


S = TypeVar("S", bound=Scale)
P = TypeVar("P")


class Experiment(ABC, Generic[S, P]):
    """A paper's claim at small scale. A subclass states the class variables and the four abstract methods below.

    Args:
        scale: sizes of one's own, in place of the quick and the full ones.
    """

    name: ClassVar[str]
    claim: ClassVar[str]
    paper: ClassVar[str]
    parts: ClassVar[str]  # how the claim is put into numbers, for the page
    metrics: ClassVar[Mapping[str, Metric]]
    drawn: ClassVar[str]  # the metric of the figure
    beside: ClassVar[
        Mapping[str, str]
    ] = {}  # metrics that are drawn beside it, the same in each setting, by label
    quick: ClassVar[Any]
    full: ClassVar[Any]

    def __init__(self, scale: S | None = None) -> None:
        self.scale = scale

    @abstractmethod
    def settings(self, scale: S) -> Sequence[Setting]:
        """Every setting, the one that the others depart from first."""

    @abstractmethod
    def prepare(self, scale: S, seed: int, data_root: str | Path | None, device: str) -> P:
        """What all settings of a seed share: data, teachers. The same for the same arguments."""

    @abstractmethod
    def measure(
        self, scale: S, setting: Setting, seed: int, ready: P
    ) -> Mapping[str, float | Sequence[float]]:
        """Train what the setting says; the metrics that it has, and lists of numbers that `sections` draws."""

    @abstractmethod
    def judge(self, scale: S, values: Mapping[tuple[str, str], Sequence[float]]) -> Sequence[Finding]:
        """The parts of the claim, from the values (one a seed, in one order) of each (setting, metric)."""

    def sections(self, scale: S, settings: Sequence[Setting], result: Result) -> Sequence[Markup]:
        """Sections of its own, after the figures that every page has."""
        return ()

    def run(
        self,
        folder: str | Path,
        seeds: Sequence[int] | None = None,
        quick: bool = False,
        *,
        data_root: str | Path | None = None,
        device: str = "auto",
        quiet: bool = True,
    ) -> Result:
        """Measure what the folder does not hold yet, judge, and write result.json and report.html.

        Raises:
            InputError: no seed, one twice or below 0; two settings of one name; the folder holds something else.
            KeyboardInterrupt: ctrl-C; what was measured is kept, and another run goes on from it.
        """
        scale: S = self.scale or (self.quick if quick else self.full)
        wanted = tuple(scale.seeds if seeds is None else seeds)
        whole = all(isinstance(seed, int) and seed >= 0 for seed in wanted)
        if not wanted or not whole or len(set(wanted)) < len(wanted):
            raise InputError(
                f"seeds must be different whole numbers of 0 or more, at least one, found {list(wanted)}"
            )
        sizes = {name: value for name, value in asdict(scale).items() if name not in ("seeds", "cost")}
        settings = list(self.settings(scale))
        names = [one.name for one in settings]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(
                f"every setting needs a name of its own, found twice: {', '.join(sorted(twice))}"
            )
        kept = Rows.open(folder, {"experiment": self.name, "scale": sizes})
        with Progress(f"experiment {self.name}", quiet) as bar:
            done, total = 0, len(wanted) * len(settings)
            for seed in wanted:
                missing = [one for one in settings if (one.name, seed) not in kept.found]
                done += len(settings) - len(missing)
                ready = self.prepare(scale, seed, data_root, device) if missing else None
                for one in missing:
                    assert ready is not None
                    began = time.monotonic()
                    found = self.measure(scale, one, seed, ready)
                    took = round(time.monotonic() - began, 3)
                    kept.add({"setting": one.name, "seed": seed, "seconds": took, **found})
                    done += 1
                    bar.update(done, total, one.name)
        return self._finish(scale, settings, wanted, kept)

    def _finish(self, scale: S, settings: list[Setting], seeds: tuple[int, ...], kept: Rows) -> Result:
        rows = [kept.found[one.name, seed] for one in settings for seed in seeds]
        values = {
            (one.name, metric): [float(kept.found[one.name, seed][metric]) for seed in seeds]
            for one in settings
            for metric in self.metrics
            if all(metric in kept.found[one.name, seed] for seed in seeds)
        }
        summary = [
            Summary(name, metric, *mean_over_seeds(found), tuple(zip(seeds, found, strict=True)))
            for (name, metric), found in values.items()
        ]
        findings = tuple(self.judge(scale, values))
        said = sentence_on(findings, len(seeds))
        result = Result(
            self.name, self.claim, self.paper, seeds, tuple(rows), tuple(summary), findings, said, kept.path
        )
        content = asdict(result)
        del content["folder"]
        write_json(kept.path / "result.json", content)
        from understudy.experiments.page import write_page

        write_page(kept.path / "report.html", self, scale, settings, result)
        return result
