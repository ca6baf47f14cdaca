"""Sound upper bounds on the difference in confidence between two networks over a ball."""

from understudy.bounds.engine import Mode as Mode
from understudy.bounds.engine import PairBound as PairBound
from understudy.bounds.engine import PairBounds as PairBounds
from understudy.bounds.engine import Status as Status
