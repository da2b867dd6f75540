"""What GitHub Actions is told of a run: annotations at source lines, and the job's summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from parity.core.rows import Row, RunResult
from parity.core.sources import Source
from parity.report.figures import at_fault
from parity.report.headline import sentence, word
from parity.report.markdown import to_markdown
from parity.report.text import MESSAGE_LIMIT, clean, plural

MOST = 10
"""Annotations of one kind that GitHub shows for a step."""
SUMMARY_ROOM = 1 << 20
"""Bytes that GitHub takes as the summary of one step; it drops all of one that is longer."""


def source_annotations(result: RunResult) -> list[str]:
    """Workflow commands that mark the source of each point at fault: at most ten, of a failed run.

    The first of a point's rows speaks for all of them. Where the source line is not known, or
    nothing is at fault and the run fails all the same, the annotation is the whole job's.
    """
    if result.passed:
        return []
    blamed: dict[str, list[Row]] = {}
    for row in result.rows:
        if at_fault(row):
            blamed.setdefault(row.point, []).append(row)
    if result.invalid or not blamed:
        return [command(f"parity {word(result)}", sentence(result))]
    found = [_at(rows, result.sources.get(point)) for point, rows in blamed.items()]
    if len(found) <= MOST:
        return found
    more = plural(len(found) - MOST + 1, "more point")
    return [*found[: MOST - 1], command("parity", f"{more} at fault: see the report")]


def command(title: str, message: str, source: Source | None = None) -> str:
    """One ``::error`` command, on one line whatever the texts hold."""
    place = {}
    if source is not None and source.candidate_file is not None:
        place["file"] = source.candidate_file
        if source.candidate_line is not None:
            place["line"] = str(source.candidate_line)
    properties = ",".join(f"{k}={_property(v)}" for k, v in {**place, "title": title}.items())
    return f"::error {properties}::{_data(message)}"


def append_summary(result: RunResult, environment: Mapping[str, str]) -> str | None:
    """Append the run's Markdown to the file that ``GITHUB_STEP_SUMMARY`` names, if it names one.

    Returns:
        Why nothing was appended, in one line; ``None`` if it was, or was not asked for.
    """
    if not (name := environment.get("GITHUB_STEP_SUMMARY")):
        return None
    path = Path(name)
    text = to_markdown(result).encode("utf-8", "backslashreplace")
    try:
        there = path.stat().st_size if path.exists() else 0
        if there + len(text) > SUMMARY_ROOM:
            return f"no job summary: {path} already holds {there:,} of {SUMMARY_ROOM:,} bytes"
        with path.open("ab") as file:
            file.write(text)
    except OSError as error:
        return f"no job summary: cannot write {path}: {error.strerror or error}"
    return None


def github_lines(result: RunResult, environment: Mapping[str, str]) -> Iterator[str]:
    """What to print for GitHub, if this is one of its jobs, and to say about its summary."""
    if (problem := append_summary(result, environment)) is not None:
        yield problem
    if environment.get("GITHUB_ACTIONS") == "true":
        yield from source_annotations(result)


def _at(rows: list[Row], source: Source | None) -> str:
    """The annotation of one point: what its first row says, and how many there are."""
    first = rows[0]
    title = f"{first.verdict.value}: {clean(first.point)}"
    where = f"in {clean(first.case)}, {clean(first.ran_in)}"
    others = f" and {plural(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
    tried = "".join(f"\nwhat to try: {clean(one, MESSAGE_LIMIT)}" for one in first.suggestions)
    message = f"{where}{others}: {clean(first.message, MESSAGE_LIMIT)}{tried}"
    return command(title, message, source)


def _data(text: str) -> str:
    """Escape a message as GitHub's own toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property, which a comma or colon would end."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
