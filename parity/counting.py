"""What became of the parity tests of a pytest session: none may go missing unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

EXPLAINED = ("VICTIM of ", "ABSENT: ")
"""How the reasons begin for which this harness itself skips a test; another one tells of those."""


class Counting:
    """A pytest plugin that counts parity tests: selected, deselected, and every outcome."""

    def __init__(self) -> None:
        self.collected = {"selected": 0, "deselected": 0}
        """Under ``-n`` only the workers collect, and all of them the same."""
        self.outcomes: Counter[str] = Counter()
        self.unexplained: Counter[str] = Counter()
        """Skipped tests that nothing else tells about, by their reason."""

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count what was not asked for."""
        self.collected["deselected"] += sum(map(is_parity_test, items))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count what was."""
        self.collected["selected"] = sum(map(is_parity_test, items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: when it was called, or where it did not come to that."""
        over = report.when == "call" or (report.when == "setup" and not report.passed)
        if "points" not in report.keywords or not over:
            return
        self.outcomes[report.outcome] += 1
        if report.skipped and not _reason(report).startswith(EXPLAINED):
            self.unexplained[_reason(report)] += 1

    @property
    def counts(self) -> dict[str, int]:
        """Everything that was counted."""
        return {**self.collected, **self.outcomes}

    @property
    def left_out(self) -> list[str]:
        """The selected tests that compared nothing, which fails the run."""
        missing = self.collected["selected"] - self.outcomes.total()
        skipped = [f"{n} selected tests skipped: {why}" for why, n in self.unexplained.items()]
        return [*skipped, *([f"{missing} selected tests not run"] if missing > 0 else [])]


def is_parity_test(item: pytest.Item) -> bool:
    """Whether a test compares a point."""
    callspec: Any = getattr(item, "callspec", None)
    return callspec is not None and isinstance(callspec.params.get("parity_point"), tuple)


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")
