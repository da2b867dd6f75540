"""Runs made by hand, for the tests of the history."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

from parity.core.rows import Row, RunResult, Verdict
from parity.history.environment import environment_of
from parity.history.record import Entry, Figure, Key, RunRecord
from parity.tests.report_runs import case_rows, comparison

START = datetime(2026, 1, 1, 3, tzinfo=timezone.utc)
FACTS = {"commit": "abc", "device": "CPU", "mindspore": "2.10.0", "machine": "x86_64, 2 cores"}


def result(night: int = 0, rows: list[Row] | None = None, **facts: object) -> RunResult:
    """A run of one case in the report's own format, made in night ``night``."""
    when = (START + timedelta(days=night)).isoformat()
    return RunResult(rows or case_rows("single-image", "fp32"), {**FACTS, "when": when, **facts})


def with_ratio(rows: list[Row], point: str, ratio: float) -> list[Row]:
    """The same rows, with another local ratio at one point."""
    changed = comparison(ratio)
    return [dataclasses.replace(r, local=changed) if r.point == point else r for r in rows]


def record(
    night: int,
    ratios: dict[str, float],
    verdicts: dict[str, Verdict] | None = None,
    **facts: object,
) -> RunRecord:
    """A run in which every point has this local ratio, in units of its gate; none end to end."""
    entries = tuple(
        Entry(
            Key("case", "fp32", "pynative", "text", point, 0), order,
            (verdicts or {}).get(point, Verdict.PASS), Figure("whole", ratio, 1.0), None,
        )
        for order, (point, ratio) in enumerate(ratios.items())
    )  # fmt: skip
    commit = str(facts.get("commit", "abc"))
    environment = environment_of({**FACTS, **facts})
    return RunRecord(START + timedelta(days=night), commit, environment, True, entries)
