"""``torch.testing.assert_close`` with its own tolerances, at each value until one fails.

From PyTorch 2.13's ``torch/testing/_comparison.py`` (``_DTYPE_PRECISIONS``,
``TensorLikePair._compare_values``): attributes first (shape, dtype), then every element has to be
within ``atol + rtol * |expected|``; NaN is close to nothing; integers and booleans are equal.
Written in NumPy, so that the self-test needs no PyTorch.
"""

from __future__ import annotations

import numpy as np

from parity.baselines.seen import Pair, Seen
from parity.core.trace import Array

TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5)}
"""dtype: (rtol, atol)."""


def blamed(seen: Seen) -> list[str]:
    """The first value, in execution order, on which the assertion would fail."""
    return [first.name] if (first := next((p for p in seen.pairs() if not _close(p)), None)) else []


def _close(pair: Pair) -> bool:
    both = pair.both()
    if both is None or (pair.floats and pair.candidate_dtype != pair.reference_dtype):
        return False
    reference, candidate = both
    if not pair.floats:
        return bool(np.array_equal(reference, candidate))
    return all_close(candidate, reference, pair.reference_dtype)


def all_close(actual: Array, expected: Array, dtype: str) -> bool:
    """Whether every element of ``actual`` is as close as the tolerances of ``dtype`` ask."""
    rtol, atol = TOLERANCES[dtype]
    with np.errstate(invalid="ignore", over="ignore"):
        a, e = actual.astype(np.float64), expected.astype(np.float64)
        return bool(np.all((a == e) | (np.abs(a - e) <= atol + rtol * np.abs(e))))
