"""Teacher and student of one structure: bounds of the difference itself, carried through both at once.

Networks that are copies of each other (pruned, quantised, fine-tuned, equal) differ little on every input,
which bounds of each network alone cannot see. Here the difference of every pair of neurons is bounded.
"""

from understudy.bounds.shared.bounds import Shared as Shared
from understudy.bounds.shared.bounds import shared_pass as shared_pass
from understudy.bounds.shared.logits import difference_bounds as difference_bounds
from understudy.bounds.shared.logits import logit_differences as logit_differences
from understudy.bounds.shared.match import matches as matches
from understudy.bounds.shared.odds import odds_gaps as odds_gaps
from understudy.bounds.shared.odds import rival_gap as rival_gap
