"""Command line: ``python -m parity.bench``."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.bench.contestants import CONTESTANTS, Contestant, mindnlp
from parity.bench.facts import counted, machine, told_versions
from parity.bench.items import ITEMS, Item, select
from parity.bench.rounds import Plan, Report, Result, measure
from parity.bench.table import failures, markdown, remarks, tables_of
from parity.options import end_in_one_line

NOT_ALL = 1
ROUNDS, QUICK_ROUNDS = 10, 2
FILE_WIDTH = 132

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)

Only = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Item to measure, of {', '.join(item.name for item in ITEMS)}; repeat for several.",
        show_default="all",
        metavar="ITEM",
    ),
]
Threads = Annotated[
    int, typer.Option(help="Threads and processors of every contestant.", min=1, metavar="NUMBER")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Small sizes, 2 rounds: tries everything, says nothing.")
]


@app.callback()
def bench(
    context: typer.Context,
    only: Only = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds.", show_default=str(ROUNDS), min=1, metavar="NUMBER"),
    ] = None,
    threads: Threads = 2,
    quick: Quick = False,
    mindnlp_python: Annotated[
        Path | None,
        typer.Option(
            "--mindnlp",
            help="The interpreter of an environment with MindNLP, to let it take part.",
            metavar="PYTHON",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure here.", metavar="FILE")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in the README.")
    ] = False,
) -> None:
    """Measure the port's speed and memory against Hugging Face's model in PyTorch.

    Every contestant computes the same items, of real shapes in float32, with random weights from
    a fixed seed, in a process of its own and with the same number of threads. They take turns. A
    ratio is taken within a round; the table shows the median and the range over the rounds. A
    result that is not the baseline's is not timed.

    The goals of the port stand beside its ratios, met or not met; the exit status does not depend
    on them. Exit status: **0** measured, **1** something could not be measured, **2** the run
    could not be made.

    A run that is stopped shows what it has measured by then.

    Close other programs first. `python -m parity.bench --quick` tries everything in a minute or
    two, `python -m parity.bench profile` says where the port's time goes.
    """
    if context.invoked_subcommand is not None:
        return
    items = select(only or [])
    contestants = [*CONTESTANTS, *([mindnlp(mindnlp_python)] if mindnlp_python else [])]
    facts = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as scratch:
        plan = Plan(tuple(contestants), rounds or (QUICK_ROUNDS if quick else ROUNDS), threads,
                    quick, Path(scratch))  # fmt: skip
        report = Report()
        stopped = _with_progress(items, plan, report)
    results = [report.results[item.name] for item in items if item.name in report.results]
    if stopped is not None and not results:
        raise stopped
    facts |= _facts(plan, report.versions)
    if json_file:
        _write(json_file, {"facts": facts, "results": [result.as_json() for result in results]})
    if as_markdown:
        typer.echo(markdown(results, facts))
    else:
        _print(results, facts)
    problems = failures(results)
    for line in problems:
        typer.echo(f"could not be measured: {line}", err=True)
    if stopped is not None:
        left = [item.name for item in items if item.name not in report.results]
        typer.echo(f"stopped before the end, without {', '.join(left)}", err=True)
        raise stopped
    raise typer.Exit(NOT_ALL if problems else 0)


@app.command()
def profile(
    only: Only = None,
    threads: Threads = 2,
    quick: Quick = False,
    jit: Annotated[bool, typer.Option("--jit", help="Of the compiled port.")] = False,
) -> None:
    """Say what limits each of the port's items, by MindSpore's own profiler.

    Kernels of a kind are counted and added up. What is left of a run's time is split in two:
    **dispatch**, the cost of starting that many kernels, which the same item shows with next to
    no numbers in it, and **copies**, of views that a kernel wants contiguous, which MindSpore
    does not count as kernels.
    """
    from parity.bench.profiling import profile_items

    port: Contestant = next(c for c in CONTESTANTS if c.name == ("port-jit" if jit else "port"))
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as scratch:
        plan = Plan((port,), 1, threads, quick, Path(scratch))
        for line in profile_items(select(only or []), plan):
            typer.echo(line)


def _facts(plan: Plan, versions: dict[str, dict[str, str]]) -> dict[str, str]:
    sizes = " of SMALL SIZES, which say nothing about speed" if plan.quick else ""
    return {
        "rounds": f"{counted(plan.rounds, 'round')}{sizes}",
        "threads": counted(plan.threads, "thread"),
        "versions": told_versions(versions),
        "command": shlex.join(["python", "-m", "parity.bench", *sys.argv[1:]]),
    }


def _with_progress(items: Sequence[Item], plan: Plan, report: Report) -> BaseException | None:
    """Measure; what stopped it, if anything did, with what was measured by then in ``report``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (BarColumn(20), MofNCompleteColumn(), Elapsed(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=plan.steps(items))
        shown = replace(
            plan, step=lambda doing: progress.update(task, advance=1, description=doing)
        )
        try:
            measure(items, shown, report)
        except (KeyboardInterrupt, SystemExit) as stop:
            return stop
    return None


def _print(results: list[Result], facts: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    for head, cells in tables_of(results):
        table = Table(show_lines=True)
        for number, column in enumerate(head):
            table.add_column(column, overflow="fold", justify="left" if number == 0 else "right")
        for line in cells:
            table.add_row(*line)
        console.print(table)
    for remark in remarks(results, facts):
        console.print(remark, markup=False, highlight=False)


def _write(path: Path, data: dict[str, Any]) -> None:
    from parity.core.files import temporary_beside

    with temporary_beside(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")


def main() -> None:
    """Entry point: errors a user can act on become one line and exit status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # workers end too
    end_in_one_line(app)


if __name__ == "__main__":
    main()
