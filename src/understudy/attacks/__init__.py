"""Maximising any scalar of (teacher, student, input) over a ball: used by training and by the audit."""

from understudy.attacks.ascent import Ascent, ascend, climb, start_point
from understudy.attacks.ball import Ball, Norm

__all__ = ["Ascent", "Ball", "Norm", "ascend", "climb", "start_point"]
