"""The rules of msprobe, Ascend's tool for comparing a port with its reference.

From mindstudio-probe 26.2.0 on PyPI, below ``msprobe/core/compare/``:

- `blamed` is its comparison of dumped tensors, ``indicator_analysis/algorithm.py``
  (``TENSOR_CHECKERS``). A call of a module is an error if shapes or dtypes differ, if it holds NaN
  or infinity where the reference does not, or if over 90 % of every input's elements and under
  10 % of an output's are within a thousandth; it is a warning if the cosine falls by more than
  0.1 from over 0.9 at the inputs.
- `first_difference` is its search for the first difference, ``diff_analyze/
  first_diff_analyze.py`` and ``diff_analyze_threshold.yaml``: the first module whose output's
  maximum, minimum, mean or norm is off by more than half of the reference's.

Kinder than the original: names are mapped, dtypes are compared by meaning and not by spelling
(which flags every row between MindSpore and PyTorch), ``requires_grad`` is not compared, and
padding tokens are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from parity.baselines.cosine import cosine
from parity.baselines.seen import Module, Pair, Seen
from parity.core.trace import Array

THOUSANDTH = 1e-3
CLOSE_INPUT, CLOSE_OUTPUT = 0.9, 0.1
ALIKE_INPUT, COSINE_FALL = 0.9, 0.1
STATISTIC = 0.5


def blamed(seen: Seen) -> list[str]:
    """Modules with an error or a warning, in execution order."""
    return list(dict.fromkeys(_named(m) for m in seen.modules() if _error(m) or _warning(m)))


def first_difference(seen: Seen) -> list[str]:
    """The first module with a statistic that is off by more than half."""
    different = (_named(m) for m in seen.modules() if any(_differs(pair) for pair in m.outputs))
    first = next(different, None)
    return [] if first is None else [first]


def _named(module: Module) -> str:
    """The module by the name of the point that its first result is."""
    return module.outputs[0].name


def _error(module: Module) -> bool:
    """Shape, dtype, NaN and infinity of all; then the share of elements within a thousandth."""
    everything = [*module.inputs, *module.outputs]
    if any(pair.both() is None or (pair.candidate_dtype != pair.reference_dtype and pair.floats)
           for pair in everything):  # fmt: skip
        return True
    if any(_nonfinite(*both) for both in _both(everything)):
        return True
    given, made = (least(map(_share, _both(p))) for p in (module.inputs, module.outputs))
    return given > CLOSE_INPUT and made < CLOSE_OUTPUT


def _warning(module: Module) -> bool:
    """A cosine that falls from the inputs to the outputs."""
    given, made = (least(map(_cosine, _both(p))) for p in (module.inputs, module.outputs))
    return given > ALIKE_INPUT and given - made > COSINE_FALL


def _both(pairs: Iterable[Pair]) -> list[tuple[Array, Array]]:
    return [both for pair in pairs if (both := pair.both()) is not None]


def least(values: Iterable[float]) -> float:
    """``ApiData.get_min_or_max_value``: the smallest, 1 where there is none; NaN is passed over."""
    return min([1.0, *(value for value in values if value == value)])


def _share(both: tuple[Array, Array]) -> float:
    return share_within(*both)


def _cosine(both: tuple[Array, Array]) -> float:
    return cosine(*both)


def share_within(reference: Array, candidate: Array) -> float:
    """``calc_relative_err_ratio``: the share of elements whose relative error is under 1e-3."""
    kind = np.result_type(reference, candidate, np.float32)
    n, b = candidate.astype(kind), reference.astype(kind)
    zero = b == 0
    n[zero] += np.finfo(kind).eps
    b[zero] += np.finfo(kind).eps
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return float(np.mean(np.abs((n - b) / b) < THOUSANDTH))


def _nonfinite(reference: Array, candidate: Array) -> bool:
    """``InfNanErrChecker``: the candidate's extremes are not numbers, and the reference's are."""
    return bool(np.isfinite(reference).all() and not np.isfinite(candidate).all())


def _differs(pair: Pair) -> bool:
    """``CalcStatsDiff``: a statistic of the reference that is not 0, missed by more than half."""
    if pair.candidate is None:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        n, b = (_statistics(array) for array in (pair.candidate, pair.reference))
        off = np.abs((n - b) / np.where(b == 0, np.nan, b))
    return bool(np.any(off > STATISTIC))


def _statistics(array: Array) -> NDArray[np.float64]:
    """Maximum, minimum, mean and L2 norm."""
    values = array.astype(np.float64)
    return np.array([values.max(), values.min(), values.mean(), np.linalg.norm(values)])
