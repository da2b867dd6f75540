"""What a finished run prints after its summary, whichever command made it."""

from __future__ import annotations

from collections.abc import Mapping

from parity.core.rows import RunResult


def ending(result: RunResult, environment: Mapping[str, str]) -> list[str]:
    """Lines about what could not be written, and GitHub's annotations where it is listening.

    Appends the job summary, where GitHub asks for one.
    """
    from parity.report.github import github_lines
    from parity.report.rows_parquet import missing

    problem = missing()
    return [*([problem] if problem else []), *github_lines(result, environment)]
