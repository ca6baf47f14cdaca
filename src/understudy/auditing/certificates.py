"""The proofs of an audit as files: one a point and radius, named after both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from understudy.auditing.record import AuditRecord
from understudy.bounds.certificate import Certificate

FOLDER = "certificates"


@dataclass(frozen=True)
class CertificateFolder:
    """Writes what a search proved as it comes, with the SHA-256 of both models' files.

    Attributes:
        audit: the audit's folder; the certificates go into one below it, made with the first of them.
        start: row of the first examined point in its split.
        teacher, student: SHA-256 as in `ModelRecord`.
        names: (point's place among the examined, radius) -> the file's name in the audit's folder.
    """

    audit: Path
    start: int
    teacher: str
    student: str
    names: dict[tuple[int, float], str] = field(default_factory=dict)

    def keep(self, row: int, eps: float, certificate: Certificate) -> None:
        """Write one."""
        name = f"{FOLDER}/point-{self.start + row}-eps-{eps:g}.npz"
        (self.audit / FOLDER).mkdir(exist_ok=True)
        files = {"teacher": self.teacher, "student": self.student}
        networks = {net: replace(part, file=files[net]) for net, part in certificate.networks.items()}
        replace(certificate, networks=networks).save(self.audit / name)
        self.names[row, eps] = name


def certificate_sizes(folder: Path, record: AuditRecord) -> list[int]:
    """Bytes of every certificate that the record names."""
    return [
        (folder / one.certificate).stat().st_size
        for point in record.points
        for one in point.radii
        if one.certificate is not None
    ]
