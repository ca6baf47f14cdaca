"""Where the teacher's signal comes from, beside a live model: its answers, computed once and kept."""

from understudy.teachers.encoding import Dense, Encoding
from understudy.teachers.identity import Identity, token_fingerprint
from understudy.teachers.recording import identity_of, record_teacher
from understudy.teachers.replay import Replay
from understudy.teachers.sparse import Sampled, TopK
from understudy.teachers.store import TeacherStore, open_store
from understudy.teachers.targets import DenseTargets, SparseTargets, Targets
from understudy.teachers.writing import write_store

__all__ = [
    "Dense",
    "DenseTargets",
    "Encoding",
    "Identity",
    "Replay",
    "Sampled",
    "SparseTargets",
    "Targets",
    "TeacherStore",
    "TopK",
    "identity_of",
    "open_store",
    "record_teacher",
    "token_fingerprint",
    "write_store",
]
