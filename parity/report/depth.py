"""Error along depth, case by case: one panel a dtype, all on one scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parity.report.axes import Scale
from parity.report.panels import Panel
from parity.report.text import plural


@dataclass(frozen=True)
class CaseDepth:
    """The panels of one case."""

    case: str
    outcome: str
    """``3 of 4 dtypes fail``, or ``3 of 8 runs fail`` where each dtype ran in both modes."""
    passed: bool
    panels: tuple[Panel, ...]
    scale: Scale
    """Shared, so that dtypes can be compared by eye."""


def case_depths(panels: Iterable[Panel]) -> tuple[CaseDepth, ...]:
    """Bring the panels of each case together, in the order of each case's first one.

    Args:
        panels: The most urgent first. Those of one case are put into run order.
    """
    cases: dict[str, list[Panel]] = {}
    for panel in panels:
        cases.setdefault(panel.case, []).append(panel)
    return tuple(_depth(case, found) for case, found in cases.items())


def _depth(case: str, panels: list[Panel]) -> CaseDepth:
    panels = sorted(panels, key=lambda panel: panel.first)
    failing = sum(not panel.passed for panel in panels)
    fail = "fails" if failing == 1 else "fail"
    # Under both modes a dtype has two panels.
    several = len({panel.dtype.partition(" ")[0] for panel in panels}) < len(panels)
    every = plural(len(panels), "run" if several else "dtype")
    outcome = f"{failing:,} of {every} {fail}" if failing else f"{every}, none fails"
    points = tuple(point for panel in panels for point in panel.points)
    return CaseDepth(case, outcome, not failing, tuple(panels), Scale.of(points))
