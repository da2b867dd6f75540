"""The command ``python -m parity diff``: what changed from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.core.diff import DTYPE, MODE
from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.options import COULD_NOT_RUN
from parity.run_parts import RunPart, open_part

if TYPE_CHECKING:
    from parity.core.diff_runs import Runs

ON_PAGE = 1000
"""Rows of one kind of change on the page: more make it heavy, and nobody reads them."""
IN_TERMINAL = 10


def diff(
    run_a: Annotated[
        str,
        typer.Argument(
            help="The run to measure by: `latest`, its id, its folder or its rows.json; with "
            "`:bf16` or `:graph` after it, only that dtype or mode of it.",
            metavar="RUN_A",
        ),
    ],
    run_b: Annotated[str, typer.Argument(help="The run to hold against it.", metavar="RUN_B")],
    case: Annotated[
        list[str] | None,
        typer.Option(help="Compare only this case; repeat for several.", metavar="NAME"),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write.", metavar="FILE")
    ] = Path("reports/diff.html"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every change as JSON.", metavar="FILE")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every change here, not the first of each kind.")
    ] = False,
) -> None:
    """Compare two runs: what got worse or better, appeared and vanished.

    Writes a page, and says the same in short: what differs between the runs themselves first
    (commit, versions, device, gates), then between their rows, what matters most first.

    `python -m parity diff 3f2a1c latest` compares two runs: commits, devices or candidates.

    `python -m parity diff latest:fp32 latest:bf16` compares two dtypes, of one run or of two.

    `python -m parity diff eager:pynative compiled:graph` compares two modes.

    `python -m parity diff nightly/ latest --case two-images` compares only what both ran.

    Rows pair by case, dtype, mode, point and firing; by dtype or mode not where both runs name
    one. Exit status: **0** nothing is worse, **1** something fails anew, is worse or vanished,
    **2** the runs could not be compared, or one failed a proof of itself.
    """
    from parity.core.diff_runs import diff_runs

    a, b = open_part(run_a), open_part(run_b)
    asked = check_cases(a, b, case or [])
    named = {DTYPE: (a.dtype, b.dtype), MODE: (a.mode, b.mode)}
    across = [name for name, both in named.items() if all(both)]
    runs = diff_runs(a.rows_of(b, asked), b.rows_of(a, asked), across)
    check_paired(runs)
    write(runs, (run_a, run_b), output, json_file)
    show(runs, (run_a, run_b), output, every)
    raise typer.Exit(int(runs.got_worse) if runs.trusted else COULD_NOT_RUN)


def check_cases(a: RunPart, b: RunPart, cases: list[str]) -> list[str]:
    """See that each of the cases is in one of the runs; return them.

    Raises:
        ParityError: one is in neither.
    """
    there = dict.fromkeys(row.case for part in (a, b) for row in part.result.rows)
    for case in cases:
        if case not in there:
            raise ParityError(f"neither run has a case {case!r}; they have {', '.join(there)}")
    return cases


def check_paired(runs: Runs) -> None:
    """See that there is something to compare.

    Raises:
        ParityError: the runs have no row in common; says what each has, and how to name a part.
    """
    if runs.rows.paired:
        return
    if not runs.a.rows or not runs.b.rows:
        empty = " and ".join(name for name, run in (("A", runs.a), ("B", runs.b)) if not run.rows)
        raise ParityError(f"nothing to compare: no row is selected of run {empty}")
    raise ParityError(
        "the runs have no row in common. "
        + " ".join(runs.warnings)
        + " Name a dtype or mode of each, as RUN_A:fp32 RUN_B:bf16, or runs of the same cases."
    )


def write(runs: Runs, names: tuple[str, str], output: Path, json_file: Path | None) -> None:
    """Write the page, and the JSON if it is asked for; each takes its place when it is whole.

    Raises:
        ParityError: a place cannot be written.
    """
    from parity.report.diff_html import render_diff
    from parity.report.diff_json import diff_to_json

    texts = {output: render_diff(runs, names, ON_PAGE)}
    if json_file is not None:
        texts[json_file] = diff_to_json(runs, names)
    for path, text in texts.items():
        make_parents(path)
        with temporary_beside(path) as temporary:
            # A name may hold half of a surrogate pair, which UTF-8 cannot.
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def make_parents(path: Path) -> None:
    """Make the folders above a file.

    Raises:
        ParityError: they cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"cannot make {path.parent}: {error.strerror or error}") from error


def show(runs: Runs, names: tuple[str, str], output: Path, every: bool) -> None:
    """Say in the terminal what changed."""
    from parity.report.diff_text import diff_lines
    from parity.report.diff_view import diff_view

    limit = len(runs.rows.changes) if every else IN_TERMINAL
    for text in diff_lines(diff_view(runs, names, limit)):
        typer.echo(text)
    typer.echo(f"\npage: {output}")
