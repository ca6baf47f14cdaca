"""What the student is shown: the data as it is, augmented, mixed, attacked, picked."""

from understudy.sources.attacked import Attacked
from understudy.sources.augmented import Augmented
from understudy.sources.base import AsIs, Cast, Chain, Source
from understudy.sources.picked import Picked
from understudy.sources.with_augmented import WithAugmented

__all__ = ["AsIs", "Attacked", "Augmented", "Cast", "Chain", "Picked", "Source", "WithAugmented"]
