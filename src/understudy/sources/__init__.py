"""What the student is shown: the data as it is, augmented, attacked."""

from understudy.sources.attacked import Attacked
from understudy.sources.augmented import Augmented
from understudy.sources.base import AsIs, Cast, Chain, Source

__all__ = ["AsIs", "Attacked", "Augmented", "Cast", "Chain", "Source"]
