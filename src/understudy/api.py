"""What a user calls: train, distill, audit, certify, compare, load. The command line is a thin call of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks import Ball, Norm
from understudy.auditing.settings import SEARCHES, SECONDS, AuditSettings, Certify
from understudy.auditing.skipped import measurable
from understudy.bounds.engine import PairBound, PairBounds
from understudy.errors import InputError, unknown
from understudy.experiments import experiment_of
from understudy.experiments.base import Result
from understudy.jobs.audit_job import Audit, run_audit
from understudy.jobs.comparison_job import Comparison, run_comparison
from understudy.jobs.comparison_methods import expanded
from understudy.jobs.defaults import default_grid, default_radius
from understudy.jobs.fidelity_job import FidelityReport, measure_fidelity
from understudy.jobs.opening import as_found, open_data, open_first, open_for
from understudy.jobs.query_job import ExportedQuery, export_query
from understudy.jobs.recipe_job import run_distillation
from understudy.jobs.smoothing_job import Smoothing, smooth
from understudy.jobs.training_job import Run, TrainingRequest, run_training
from understudy.models.opening import LoadedModel
from understudy.objectives.base import Objective
from understudy.recipes.base import Recipe, TextRecipe
from understudy.teachers.black_box import TextTeacher

ROBUST = {"none": "ce", "pgd": "at", "trades": "trades"}
Model = str | Path | nn.Module | LoadedModel

__all__ = [
    "Audit", "Comparison", "ExportedQuery", "FidelityReport", "Run", "Smoothing", "audit", "certify", "compare",
    "distill", "experiment", "export_query", "load", "measure_fidelity", "smooth", "train",
]  # fmt: skip


def load(
    source: Model,
    *,
    data: Any = None,
    normalize: str | None = None,
    data_root: str | Path | None = None,
) -> LoadedModel:
    """Open a model: a run folder, a safetensors or ONNX file, "module:callable", "hf:ID", "timm:NAME", a module.

    Args:
        data: a data set (or its name) whose input shape and classes the model must fit; a bare state dict such as
            "mlp[200,200]@weights.safetensors" needs it.
        normalize: "MEAN:STD" for a model from outside that expects normalised inputs.

    Returns:
        LoadedModel; its `.module` takes inputs in the data's valid range and gives logits (B, C).

    Raises:
        InputError: it cannot be opened, or does not fit the data.
    """
    found = (
        None
        if data is None
        else open_data(data, "test", data_root=data_root, valid_range=None, several=True, text=True)
    )
    return open_for(found, source, normalize)


def train(
    data: Any,
    model: str | nn.Module,
    *,
    robust: str = "none",
    method: str | Objective | None = None,
    eps: float | None = None,
    options: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
    **settings: Any,
) -> Run:
    """Train a teacher: plainly, by PGD adversarial training, or by TRADES.

    Args:
        data: a data set's name, path, hub id, `DataSet`, torch `Dataset`, `DataLoader`, or tensors (x, y).
        model: "mlp", "cnn", "resnet20", ... (options in brackets: "mlp[64,64]"), "module:callable", or a module,
            which is trained in place.
        robust: "none", "pgd" or "trades".
        method: one without a teacher, in place of `robust`: "binary_relevance" where an example bears several labels.
        eps: training radius in the data's units; None takes the customary one of a named set.
        settings: further fields of `TrainingRequest`: epochs, seed, batch_size, lr, optimizer, examples, ...

    Raises:
        InputError: something cannot be used; nothing has been written then.
    """
    if robust not in ROBUST:
        raise unknown("robust training", robust, ROBUST)
    if method is not None and robust != "none":
        raise InputError(f"give either robust, found {robust!r}, or a method, found {method!r}")
    how = ROBUST[robust] if method is None else method
    request = _request("train", data, model, method=how, eps=eps, options=options, **settings)
    return run_training(
        request, out=out, resume=resume, data_root=data_root, device=device, devices=devices, quiet=quiet
    )


def distill(
    teacher: Model | TextTeacher | None,
    student: str | nn.Module | None,
    data: Any,
    *,
    method: str | Objective | Recipe | TextRecipe = "faithful_kd",
    eps: float | None = None,
    options: Mapping[str, str] | None = None,
    taps: Mapping[str, tuple[str, str]] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
    **settings: Any,
) -> Run:
    """Train a student from a teacher by a method or recipe of the catalogue or a method of your own.

    Args:
        teacher: anything `load` opens. It is frozen while it teaches and left as it was. None for a method that
            asks no teacher, or a recipe that reads a table's recorded scores. For a recipe of text also anything
            that answers text, a `TextTeacher`.
        student, data: as `train` takes model and data; no student for a recipe that fits one of its own.
        method: a method's or recipe's name, "package.module:Class", a recipe, or an objective such as
            `0.5 * SoftTargets() + MyMethod()`.
        eps: training radius, for methods that attack.
        options: fields of a method given by name, as text.
        taps: feature name -> (teacher's layer, student's layer), for objectives that read features.
        settings: further fields of `TrainingRequest`: epochs, seed, batch_size, lr, optimizer, examples, ...

    Raises:
        InputError: something cannot be used; nothing has been written then.
    """
    request = _request(
        "distill", data, student, teacher=teacher, method=method, eps=eps, options=options, **settings
    )
    with as_found(teacher):
        return run_distillation(
            request,
            out=out,
            resume=resume,
            taps=taps,
            data_root=data_root,
            device=device,
            devices=devices,
            quiet=quiet,
        )


def _request(command: str, data: Any, model: Any, **fields: Any) -> TrainingRequest:
    known = TrainingRequest.__dataclass_fields__
    for name in fields:
        if name not in known:
            raise unknown("training setting", name, known)
    return TrainingRequest(command=command, data=data, model=model, **fields)


def audit(
    teacher: Model,
    student: Model,
    data: Any,
    *,
    eps: Sequence[float] | float | None = None,
    split: str = "test",
    points: int | None = None,
    start: int = 0,
    all_points: bool = False,
    certify: Certify = "crown",
    time_limit: float | None = None,
    tolerance: float = 1e-4,
    certificates: bool = False,
    fail_above: float | None = None,
    norm: Norm = "linf",
    seed: int = 0,
    valid_range: tuple[float, float] | None = None,
    teacher_normalize: str | None = None,
    student_normalize: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
    copied: bool = True,
) -> Audit:
    """Measure, attack and bound how far teacher and student differ around the points of a data set.

    Args:
        teacher, student: anything `load` opens.
        data: as `train` takes it; tensors (x, y) or (x, None) are a user's own.
        eps: radii in the data's units; 0 is always added. None takes the customary grid of a named set.
        points, start: rows start..start+points-1 of the split; None takes 100, or as many as there are.
        all_points: count points that the teacher gets wrong too.
        certify: "none", "ibp", "crown", "alpha", "milp" or "exact", from fast and loose to slow and exact.
        time_limit: seconds a point and radius for the bound; None is 30 for "exact" and "milp", else no limit.
        tolerance: a point is exact when upper - lower is at most this.
        certificates: write each proof of "alpha" or "exact" to a file below `out`.
        fail_above: a gate: raise GateFailed if any upper bound lies above this difference in confidence.
        valid_range: of a user's own tensors; None leaves them unbounded.
        out: folder for audit.json, witnesses.safetensors and report.html.
        copied: also measure what the student copied: answers, where both look, layers, on at most 500 examples.

    Raises:
        InputError: something cannot be used; nothing has been written then.
        GateFailed, SoundnessError: see `fail_above`, and when two bounds contradict each other.
    """
    found = open_data(data, split, data_root=data_root, valid_range=valid_range, quiet=quiet)
    settings = AuditSettings(
        eps=() if eps is None else _grid(eps),
        points=points,
        start=start,
        all_points=all_points,
        certify=certify,
        time_limit=time_limit,
        tolerance=tolerance,
        norm=norm,
        seed=seed,
        certificates=certificates,
    )
    with as_found(teacher, student):
        one, found = open_first(found, data, teacher, teacher_normalize)
        other = open_for(found, student, student_normalize)
        if eps is None and not measurable(one, other, settings)[1]:
            settings = replace(settings, eps=default_grid(found.name))
        return run_audit(
            one,
            other,
            found,
            settings,
            out=out,
            fail_above=fail_above,
            device=device,
            quiet=quiet,
            copied=copied,
        )


def _grid(eps: Sequence[float] | float) -> tuple[float, ...]:
    return (float(eps),) if isinstance(eps, int | float) else tuple(float(e) for e in eps)


def certify(
    teacher: Model,
    student: Model,
    inputs: Float[Tensor, "b ..."],
    eps: float,
    *,
    valid_range: tuple[float, float] = (0.0, 1.0),
    norm: Norm = "linf",
    mode: Certify = "crown",
    tolerance: float = 1e-4,
    time_limit: float | None = None,
) -> list[PairBound]:
    """Sound upper bounds on D(x, eps) for your own inputs (B, ...), one an example.

    Args:
        mode: "ibp", "crown", "alpha", "milp" or "exact", from fast and loose to slow and exact.
        tolerance: a point is exact when upper - lower is at most this.
        time_limit: seconds a point; None is 30 for "exact" and "milp", else no limit.

    Raises:
        InputError: models that the bounds cannot read or that do not fit, inputs outside the range.
    """
    if mode == "none":
        raise InputError("mode 'none' certifies nothing: use ibp or crown")
    if time_limit is None and mode in SEARCHES:
        time_limit = SECONDS
    low, high = valid_range
    if not bool(((inputs >= low) & (inputs <= high)).all()):
        raise InputError(f"inputs must lie in the valid range [{low:g}, {high:g}] and hold no NaN")
    ball = Ball(eps, norm, low, high)
    with as_found(teacher, student):
        one, other = open_for(None, teacher), open_for(None, student)
        engine = PairBounds(one.module, other.module, tuple(inputs.shape[1:]), mode=mode)
        return engine.bound(inputs, ball, tolerance=tolerance, time_limit=time_limit)


def compare(
    teacher: Model,
    student: str,
    data: Any,
    *,
    methods: str | Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    train_eps: float | None = None,
    eps: Sequence[float] | float | None = None,
    out: str | Path,
    split: str = "test",
    points: int | None = None,
    certify: Certify = "crown",
    norm: Norm = "linf",
    workers: int = 0,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
    **settings: Any,
) -> Comparison:
    """Train, audit and measure each method with each seed from one teacher, and hold it against plain distillation.

    Beside the methods that are asked for there are always plain distillation, the undistilled student, label
    smoothing, and, where a method attacks, the undistilled student that is adversarially trained.

    Args:
        methods: names, families of methods, or "all"; as a list, or separated by commas. Of a family, methods that
            do not run on this pair with their defaults are left out, and named in the result.
        train_eps: training radius; None takes the customary one of a named set.
        eps: the audit's grid; None takes 0, a quarter, a half and the whole of the training radius.
        out: folder for compare.json, report.html and the run folders METHOD/SEED. One that holds the same
            comparison, interrupted or with fewer methods or seeds, is continued.
        workers: runs at once, each in a process of its own (a script that asks for this must keep its work under
            `if __name__ == "__main__":`); 0 does all of them in this process. The results are the same.
        settings: further fields of `TrainingRequest`: epochs, batch_size, lr, examples, ...

    Raises:
        InputError: something cannot be used, or the folder holds something else.
    """
    if isinstance(methods, str):
        methods = [name.strip() for name in methods.split(",") if name.strip()]
    expanded(methods)
    test = open_data(data, split, data_root=data_root, valid_range=settings.get("valid_range"), quiet=quiet)
    radius = train_eps if train_eps is not None else default_radius(test.name)
    grid = _grid(eps) if eps is not None else (0.0, radius / 4, radius / 2, radius)
    with as_found(teacher):
        opened, test = open_first(test, data, teacher, settings.get("teacher_normalize"))
        source: Model = teacher
        if not isinstance(teacher, str | Path):
            source, _ = opened, settings.pop("teacher_normalize", None)  # it is inside already
        return run_comparison(
            _request("compare", data, student, teacher=source, norm=norm, **settings),
            opened,
            test,
            AuditSettings(eps=grid, points=points, certify=certify, norm=norm),
            methods=methods,
            seeds=seeds,
            out=out,
            train_eps=radius,
            workers=workers,
            data_root=data_root,
            device=device,
            devices=devices,
            quiet=quiet,
        )


def experiment(
    name: str,
    *,
    out: str | Path,
    quick: bool = False,
    seeds: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> Result:
    """Rerun a paper's claim at small scale; `.sentence` says whether it appeared.

    Args:
        name: as `understudy experiment list` has it.
        out: folder for rows.jsonl, result.json and report.html; one that holds the same experiment at the same size is
            continued.
        quick: the sizes that take minutes, in place of the full ones.
        seeds: None takes the experiment's own.

    Raises:
        InputError: there is no such experiment, or the folder holds something else.
    """
    return experiment_of(name)().run(out, seeds, quick, data_root=data_root, device=device, quiet=quiet)
