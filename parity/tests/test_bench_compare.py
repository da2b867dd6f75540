"""The benchmark of a comparison: that it measures what it says, and judges its goals."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity.bench import compare
from parity.bench.compare import Measured, measure, sample, seconds
from parity.bench.ratios import Spread
from parity.core.errors import ParityError
from parity.core.narrow import NARROW, pack
from parity.core.numerics import FORMATS

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_is_of_the_dtype_and_passes_for_a_faithful_port(name):
    dtype = FORMATS[name]
    tensors = sample((50, 64), dtype)
    for side in (tensors.candidate, tensors.reference):
        if name in NARROW:
            pack(side, name)
        assert not np.array_equal(side, np.zeros_like(side))
    found = compare.statistics(tensors, dtype)
    assert 1.5 < found["whole.ratio"] < 10
    assert np.any(tensors.residual)


def test_bandwidths_and_ratios_are_of_the_same_bytes_and_rounds():
    found = measure((20, 64), FORMATS["float16"], rounds=3)
    assert found.bytes == 3 * 20 * 64 * 4
    assert len(found.ours) == len(found.plain) == len(found.copy) == 3
    made = Measured("x", 4 * 10**9, ours=[2.0, 4.0], plain=[8.0, 8.0], copy=[0.5, 0.5])
    assert made.times_plain == Spread(3.0, 2.0, 4.0)
    assert made.share_of_copy == Spread(0.1875, 0.125, 0.25)
    assert made.bandwidth(made.ours) == pytest.approx(4 / 3)


def test_seconds_are_of_the_processor():
    assert 0.05 < seconds(lambda: [None for _ in range(3 * 10**6)]) < 5
    import time

    assert seconds(lambda: time.sleep(0.3)) < 0.1


def test_goals_are_met_or_not():
    assert compare._cell(Spread(4.0, 3.0, 5.0), 4.0, 1, "") == "4.0 (3.0 to 5.0) met"
    assert compare._cell(Spread(0.149, 0.1, 0.2), 0.15, 100, " %").endswith(" not met")


def test_another_result_than_plain_numpys_is_not_timed(monkeypatch):
    plain = compare.statistics

    def wrong(tensors, dtype):
        found = plain(tensors, dtype)
        return found | {"whole.ratio": found["whole.ratio"] * (1 + 1e-6)}

    monkeypatch.setattr(compare, "statistics", wrong)
    with pytest.raises(ParityError, match="plain NumPy one of"):
        measure((20, 64), FORMATS["float32"], rounds=1)


def test_the_command_prints_every_pair_and_the_goals():
    command = [sys.executable, "-m", "parity.bench.compare", "--quick", "--rounds", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120,
        env=os.environ | {"COLUMNS": "130"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    for rows, columns in compare.QUICK_SIZES:
        for name in FORMATS:
            assert sum(f"{rows} x {columns} {name}" in line for line in lines) == 1
    assert "goals: at least 4 times plain NumPy and 15% of copy" in lines
    assert "1 round, 1 thread" in lines[-1]
