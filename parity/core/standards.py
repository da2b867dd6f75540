"""Published acceptance standards of Ascend operators: columns of a report, no part of a verdict.

The *open operator standard* asks of an operator's relative errors that their mean stays under T
and the largest under 10 T. The *dual benchmark* divides the device's largest and mean relative
error and its root mean square error by those of another device, both against a truth of higher
precision; level L1 is for language and multimodal models, L2 for critical operators. Both
define the relative error as ``|x - truth| / (|truth| + 1e-7)``.
"""

from __future__ import annotations

from dataclasses import dataclass

EPSILON = 1e-7
"""Added to every ``|truth|`` that an error is divided by."""
OPEN = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-13}
"""T of each dtype."""
L1 = (5.0, 1.5, 1.5)
L2 = (2.0, 1.2, 1.2)
"""Largest passing ratio of the largest, of the mean and of the root mean square error."""


@dataclass(frozen=True)
class Errors:
    """What the standards ask to know of one side's errors against the truth."""

    max_relative: float
    mean_relative: float
    rms: float
    """Root of the mean squared error."""


@dataclass(frozen=True)
class Standards:
    """How a tensor fares under the published standards."""

    open_operator: bool | None
    """Whether the open operator standard is met; ``None`` where it has no T for the dtype."""
    dual_max: float
    """Candidate's largest relative error over the reference's."""
    dual_mean: float
    """Candidate's mean relative error over the reference's."""
    dual_rms: float
    """Candidate's root mean square error over the reference's."""
    dual_l1: bool
    """Whether all three ratios are within those of level L1."""
    dual_l2: bool


def published(dtype: str, candidate: Errors, reference: Errors) -> Standards:
    """Hold the candidate's errors, and the reference's as the other device's, to the standards."""
    limit = OPEN.get(dtype)
    ratios = (
        ratio(candidate.max_relative, reference.max_relative),
        ratio(candidate.mean_relative, reference.mean_relative),
        ratio(candidate.rms, reference.rms),
    )
    return Standards(
        None if limit is None else _open(limit, candidate), *ratios,
        _within(ratios, L1), _within(ratios, L2),
    )  # fmt: skip


def ratio(numerator: float, denominator: float) -> float:
    """``numerator / denominator``, 0 for 0/0, infinite for x/0; NaN stays NaN."""
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator else float("inf") * numerator


def _open(limit: float, errors: Errors) -> bool:
    """NaN is within no limit, here and below."""
    return errors.mean_relative < limit and errors.max_relative < 10 * limit


def _within(ratios: tuple[float, ...], limits: tuple[float, ...]) -> bool:
    return all(found <= limit for found, limit in zip(ratios, limits, strict=True))
