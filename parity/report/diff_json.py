"""A comparison of two runs as JSON, for programs."""

from __future__ import annotations

import json
from typing import Any

from parity.core.diff import Change, Changed
from parity.core.diff_runs import Runs
from parity.core.rows import Row
from parity.core.shift import FACTOR, Shift
from parity.report.plain_io import encode

FORMAT_NAME, FORMAT = "parity-diff", 1


def diff_to_json(runs: Runs, names: tuple[str, str]) -> str:
    """Write a comparison: every row that changed, one line each, and counts of all.

    Args:
        runs: The comparison.
        names: What the two runs are called.

    Returns:
        ASCII text. Numbers that JSON lacks are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """
    head: dict[str, Any] = {
        "format_name": FORMAT_NAME,
        "format": FORMAT,
        "a": names[0],
        "b": names[1],
        "got_worse": runs.got_worse,
        "trusted": runs.trusted,
        "factor": FACTOR,
        "warnings": list(runs.warnings),
        "facts": [encode(one) for one in runs.facts],
        "counts": {change.value: count for change, count in runs.rows.counts.items()},
        "lost": list(runs.lost),
        "regained": list(runs.regained),
    }
    changes = [_change(one) for one in runs.rows.changes if one.change is not Change.UNCHANGED]
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    listed = ",\n".join(json.dumps(one, allow_nan=False) for one in changes)
    return "{" + ",\n".join(lines) + ',\n"changes": [\n' + listed + "\n]}\n"


def _change(one: Changed) -> dict[str, Any]:
    """One row that changed."""
    return {
        "change": one.change.value,
        "case": one.row.case,
        "point": one.row.point,
        "firing": one.row.firing,
        "a": _side(one.a),
        "b": _side(one.b),
        "figures": [_figure(shift) for shift in one.shifts],
    }


def _side(row: Row | None) -> dict[str, str] | None:
    """What one run has of it; ``null`` if nothing."""
    if row is None:
        return None
    return {"verdict": row.verdict.value, "dtype": row.dtype, "mode": row.mode}


def _figure(shift: Shift) -> dict[str, Any]:
    """One figure in both runs."""
    found: dict[str, Any] = encode(shift)
    return found | {"growth": encode(shift.growth), "direction": shift.direction}
