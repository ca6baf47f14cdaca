"""The public battery that any method, ours or a user's, must pass; and tiny models to run it on."""

from understudy.testing.battery import CHECKS, check_method
from understudy.testing.models import TINY_SHAPE, tiny_conv, tiny_labels, tiny_lm, tiny_mlp

__all__ = ["CHECKS", "TINY_SHAPE", "check_method", "tiny_conv", "tiny_labels", "tiny_lm", "tiny_mlp"]
