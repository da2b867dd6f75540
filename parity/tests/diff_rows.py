"""Rows and runs made by hand, for the tests of comparing two runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from parity.core.rows import Row, RunResult, Verdict
from parity.tests.report_runs import comparison, row


def made(
    point: str = "visual.merger", local: float | None = 1.5, end: float | None = 1.5,
    verdict: Verdict = Verdict.PASS, gate: float = 8.0, **changes: object,
) -> Row:  # fmt: skip
    """A row whose worst token has these ratios; ``None`` for no figure."""
    return row(
        0, point, verdict, message="why it fails",
        local=None if local is None else comparison(local, gate),
        end_to_end=None if end is None else comparison(end, gate), **changes,
    )  # fmt: skip


def run_of(rows: Iterable[Row], **facts: object) -> RunResult:
    """A run with this provenance."""
    usual = {"commit": "aaaa", "device": "CPU", "level": "module", "mode": "pynative"}
    return RunResult(list(rows), {**usual, **facts})


def with_rows(result: RunResult, rows: Iterable[Row]) -> RunResult:
    """The same run with other rows."""
    return dataclasses.replace(result, rows=list(rows))
