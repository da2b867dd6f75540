"""What the processor hands to the model: equality, before any float is looked at."""

import pytest


@pytest.mark.points("preprocessing", r"processor\..*")
def test_processor(parity_point):
    parity_point.check()
