"""Write a report so that its folder always holds a whole one: the old, or the new."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.files import is_abandoned
from parity.core.rows import RunResult
from parity.report.html import render
from parity.report.junit import to_junit
from parity.report.markdown import to_markdown
from parity.report.rows_csv import to_csv
from parity.report.rows_io import is_rows_json, to_json
from parity.report.rows_parquet import missing, to_parquet
from parity.report.swap import put_in_place

INDEX, ROWS_JSON, ROWS_CSV = "index.html", "rows.json", "rows.csv"
ROWS_PARQUET, JUNIT, SUMMARY = "rows.parquet", "junit.xml", "summary.md"
FILES = frozenset({INDEX, ROWS_JSON, ROWS_CSV, ROWS_PARQUET, JUNIT, SUMMARY})
"""What a report may hold; there is no ``rows.parquet`` where pyarrow is not installed, and no table
where none was asked for."""


def write_report(result: RunResult, folder: Path, *, tables: bool = True) -> Path:
    """Write the page, the rows in several formats and what CI reads, and put them in place at once.

    Everything is written into a new folder beside ``folder`` first, and then takes its place by a
    rename. Whoever interrupts or kills this finds the old report as it was.

    Args:
        result: The run.
        folder: Where the report goes, ``reports/latest`` say. Its parents are made. What is there
            must be a report, or an empty folder; anything else is never touched.
        tables: Whether to write ``rows.csv`` and ``rows.parquet`` too.

    Returns:
        Path of ``index.html``.

    Raises:
        ParityError: ``folder`` holds something that is not a report, or cannot be written.
    """
    target = folder.resolve()
    check_replaceable(target)
    with clear_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        new, aside = _beside(target, "new"), _beside(target, "old")
        try:
            fill(new, result, tables)
            check_replaceable(target)  # again: rendering took a while
            put_in_place(new, target, aside)
        finally:
            remove(new)
            remove(aside)
    return folder / INDEX


def check_replaceable(folder: Path) -> None:
    """See that a new report may take the place of ``folder``. Worth calling before a long run.

    Raises:
        ParityError: It is a file, or holds something that no report wrote.
    """
    with clear_errors(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise ParityError(f"{folder} is a file: name a folder for the report.")
        names = {entry.name for entry in folder.iterdir()}
    if not names:
        return
    if not is_rows_json(folder / ROWS_JSON):
        raise ParityError(
            f"{folder} is not a report (it has no {ROWS_JSON} of ours), so it is left alone: "
            "name a new or an empty folder for the report."
        )
    if strange := sorted(names - FILES):
        raise ParityError(
            f"{folder} holds {strange[0]!r}, which no report wrote, so it is left alone: "
            "move that file, or name another folder for the report."
        )


def fill(folder: Path, result: RunResult, tables: bool) -> None:
    """Make the folder and write the report's files, with or without the rows as tables.

    Raises:
        OSError: It cannot be written.
    """
    made = dict([*_tables(result), *_files(result)] if tables else _files(result))
    folder.mkdir()
    for name, content in made.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _tables(result: RunResult) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that hold the rows as a table."""
    if missing() is None:
        yield ROWS_PARQUET, to_parquet(result)
    yield ROWS_CSV, _bytes(to_csv(result))


def _files(result: RunResult) -> Iterator[tuple[str, bytes]]:
    """Name and content of the other files of a report, the page last."""
    makers = {ROWS_JSON: to_json, JUNIT: to_junit, SUMMARY: to_markdown, INDEX: render}
    for name, make in makers.items():
        yield name, _bytes(make(result))


def _bytes(text: str) -> bytes:
    """Text as it is written; a name may hold half of a surrogate pair, which UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace")


def _beside(target: Path, kind: str) -> Path:
    """Return a free hidden name beside ``target``, so on the same file system."""
    return target.with_name(f".{target.name[:80]}.{kind}-{uuid.uuid4().hex[:12]}")


def is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but a report's files.

    Raises:
        OSError: It cannot be read.
    """
    return {entry.name for entry in folder.iterdir()} <= FILES


def remove(folder: Path) -> None:
    """Remove a folder of ours, if it is there and holds nothing but a report's files."""
    with suppress(OSError):
        if is_ours(folder):
            shutil.rmtree(folder)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed runs left beside ``target`` an hour or more ago."""
    if not target.exists():
        return  # the only whole report may be the one that stepped aside
    for kind in ("new", "old"):
        remove_abandoned(target.parent, f".{_literal(target.name[:80])}.{kind}-*")


def remove_abandoned(place: Path, pattern: str) -> None:
    """Remove the unfinished folders and links in ``place`` that nobody has touched for an hour."""
    for found in place.glob(pattern):
        with suppress(OSError):
            if not is_abandoned(found):
                continue
            if found.is_symlink():
                found.unlink()
            else:
                remove(found)


def _literal(name: str) -> str:
    """Return a pattern that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@contextmanager
def clear_errors(target: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the folder.

    Raises:
        ParityError: In place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise ParityError(
            f"the report cannot be written to {target} ({error.strerror or error}): "
            "free some space, or name a folder that can be written."
        ) from error
