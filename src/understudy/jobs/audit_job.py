"""An audit from options to files: examine the pair, summarise, write everything or nothing, then judge."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from understudy.auditing.certificates import CertificateFolder
from understudy.auditing.copied import look_closer
from understudy.auditing.copied_record import CopiedRecord
from understudy.auditing.examine import Examination, examine, unsound
from understudy.auditing.files import MAPS, save_cases, to_json, witness_tensor
from understudy.auditing.nodes import at_nodes
from understudy.auditing.record import AuditRecord, DataRecord, ModelRecord, SummaryRecord
from understudy.auditing.rows import point_records
from understudy.auditing.settings import PROVING, AuditSettings
from understudy.auditing.skipped import measurable
from understudy.auditing.summary import calibrate, summarise
from understudy.data.dataset import DataSet
from understudy.errors import GateFailed, InputError, SoundnessError
from understudy.fidelity.emplb import ROWS, Pair
from understudy.jobs.progress import Progress, SearchLines
from understudy.jobs.worst import as_arrays, find_worst, save_worst, worst_cases
from understudy.models.opening import LoadedModel
from understudy.report.page import write_audit_page
from understudy.training.folder import nothing_half, prepare_folder, write_json
from understudy.training.threads import threads_for, using_threads
from understudy.version import __version__


@dataclass(frozen=True, eq=False)
class Audit:
    """A finished audit.

    Attributes:
        record: what audit.json holds.
        witnesses: (points, radii, ...) float64, the worst input found for each point and radius.
        folder: where it was written, or None.
    """

    record: AuditRecord
    witnesses: Tensor
    folder: Path | None

    @property
    def summary(self) -> list[SummaryRecord]:
        """One entry a radius."""
        return self.record.summary


def torch_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, found {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but this torch build or machine has no CUDA device")
    return torch.device(name)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that comes to be with all its files, or not at all (after an error or a kill)."""
    path = path.resolve()
    if os.path.ismount(path):
        raise InputError(f"output folder {path} is a mount point: name a new folder inside it")
    with nothing_half(path):
        prepare_folder(path)
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            partial.replace(path)  # over the empty folder, in one step
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError | SafetensorError):
                raise InputError(f"could not write {path}: {error}") from error
            raise


def run_audit(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    settings: AuditSettings,
    *,
    out: str | Path | None = None,
    fail_above: float | None = None,
    device: str = "auto",
    quiet: bool = True,
    copied: bool = False,
) -> Audit:
    """Audit a pair on a data set; with `out`, write audit.json, witnesses.safetensors, report.html, certificates.

    `copied`: also measure what the student copied, and write the maps of where both look (maps.safetensors).

    Raises:
        InputError: something cannot be used; nothing has been written then.
        SoundnessError: a lower bound lies above an upper one; the audit and the case were written first.
        GateFailed: an upper bound lies above `fail_above`; the audit was written first.
    """
    if fail_above is not None:
        if not 0 <= fail_above <= 1:
            raise InputError(f"fail_above must be a difference in confidence, 0..1, found {fail_above}")
        if settings.certify == "none":
            raise InputError(
                "fail_above needs upper bounds: a gate over none never passes; certify with crown"
            )
    if settings.certificates and out is None:
        raise InputError("certificates are files: name the folder to write with out")
    where = torch_device(device)
    settings, skipped = measurable(teacher, student, settings)
    if skipped and fail_above is not None:
        raise InputError(f"fail_above is a gate over FaithUB, which is skipped: {skipped['FaithUB']}")
    settings.check(data)
    with using_threads(threads_for(teacher.module, data.shape, ROWS // 8)):
        if out is None:
            return _examined(
                teacher, student, data, settings, skipped, None, fail_above, where, quiet, copied
            )
        with whole_folder(Path(out)) as partial:
            done = _examined(
                teacher, student, data, settings, skipped, partial, fail_above, where, quiet, copied
            )
    done = Audit(done.record, done.witnesses, Path(out))
    judge(done, fail_above)
    return done


def _examined(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    settings: AuditSettings,
    skipped: dict[str, str],
    folder: Path | None,
    fail_above: float | None,
    device: torch.device,
    quiet: bool,
    copied: bool,
) -> Audit:
    began = time.perf_counter()
    kept = None
    if folder is not None and settings.certificates:
        kept = CertificateFolder(folder, settings.start, teacher.sha256, student.sha256)
    teacher, student, points_of = at_nodes(teacher, student, data)
    # before the attacks: what goes wrong here should not cost an hour first
    closer: CopiedRecord | None = None
    maps: dict[str, Tensor] = {}
    if copied:
        with Progress("what was copied", quiet) as bar:
            closer, maps = look_closer(
                teacher,
                student,
                points_of,
                settings.start,
                device,
                lambda what, done, total: bar.update(done, total, what),
            )
    searching = settings.certify in PROVING
    with SearchLines(quiet) if searching else Progress("audit", quiet) as shown:
        found = examine(
            teacher,
            student,
            points_of,
            settings,
            device,
            lambda what, done, total: shown.update(done, total, what),
            fail_above,
            shown.step if isinstance(shown, SearchLines) else None,
            None if kept is None else kept.keep,
        )
    points = point_records(found, settings.start, settings.tolerance, {} if kept is None else kept.names)
    record = AuditRecord(
        teacher=ModelRecord(teacher.source, teacher.sha256, teacher.parameters, teacher.curves),
        student=ModelRecord(student.source, student.sha256, student.parameters, student.curves),
        data=_data_record(data, found),
        norm=settings.norm,
        settings={
            **asdict(settings),
            "eps": list(settings.eps),
            "points": len(points),
            "fail_above": fail_above,
            "copied": copied,
        },
        points=points,
        summary=summarise(found, points),
        calibration=calibrate(found),
        environment={
            "understudy": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device.type,
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 3),
        },
        skipped=skipped,
        copied=closer,
    )
    witnesses = witness_tensor(found)
    worst = find_worst(record, found.inputs, witnesses, Pair(teacher.module, student.module))
    if folder is not None:
        write_json(folder / "audit.json", to_json(record))
        save_file({"witnesses": witnesses}, folder / "witnesses.safetensors")
        save_worst(folder / "worst.safetensors", worst)
        if maps:
            save_file(maps, folder / MAPS)
        if cases := unsound(found):
            save_cases(folder, found, cases, settings.start)
        write_audit_page(folder / "report.html", record, worst_cases(record, worst, None), as_arrays(maps))
    elif cases := unsound(found):
        raise SoundnessError(_contradiction(record, cases))
    audit = Audit(record, witnesses, None)
    if folder is None:
        judge(audit, fail_above)
    return audit


def _data_record(data: DataSet, found: Examination) -> DataRecord:
    names = None if data.class_names is None else list(data.class_names)
    return DataRecord(
        name=data.name,
        split=data.split,
        examples=len(data),
        shape=list(data.shape),
        classes=found.radii[0].teacher.shape[1],
        low=data.low if math.isfinite(data.low) else None,
        high=data.high if math.isfinite(data.high) else None,
        fingerprint=data.fingerprint(),
        class_names=names,
    )


def judge(audit: Audit, fail_above: float | None) -> None:
    """Raise if bounds contradict each other or the gate fails; quiet otherwise."""
    radii = [(p, r) for p in audit.record.points for r in p.radii]
    crossed = [
        f"point {p.index} at eps {r.eps:g} (lower {r.lower:.6f}, upper {r.upper:.6f})"
        for p, r in radii
        if r.lower is not None and r.upper is not None and not r.upper >= r.lower
    ]
    if crossed or (audit.folder is not None and (audit.folder / "unsound.safetensors").exists()):
        where = "" if audit.folder is None else f"; saved in {audit.folder / 'unsound.safetensors'}"
        raise SoundnessError(
            f"attack and bound contradict each other: {', '.join(crossed[:5]) or 'same class'}{where}"
        )
    if fail_above is None:
        return
    above: dict[int, tuple[float, float]] = {}
    for point, radius in radii:
        if radius.upper is not None and radius.upper > fail_above:
            above[point.index] = max(above.get(point.index, (0.0, 0.0)), (radius.upper, radius.eps))
    if above:
        worst = sorted(above.items(), key=lambda case: -case[1][0])
        shown = ", ".join(f"{index} (eps {eps:g}: {upper:.4f})" for index, (upper, eps) in worst[:20])
        more = f" and {len(worst) - 20} more" if len(worst) > 20 else ""
        raise GateFailed(f"the upper bound is above {fail_above:g} at point {shown}{more}")


def _contradiction(record: AuditRecord, cases: list[tuple[int, int]]) -> str:
    named = ", ".join(
        f"point {record.points[row].index} at eps {record.summary[i].eps:g}" for i, row in cases[:5]
    )
    return f"attack and bound contradict each other: {named}"
