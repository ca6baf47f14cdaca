"""Data: named sets and a user's own, as floats in a declared range, each example with its index."""

from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.data.resolve import load_data

__all__ = ["Batch", "DataSet", "load_data"]
