"""How the commands show what they are doing, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Advance = Callable[[str], None]


@contextmanager
def bar(title: str, total: int) -> Iterator[Advance]:
    """A progress bar on standard error; what it yields moves it on by one, and says by what."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda what: progress.update(task, advance=1, description=f"{title} {what}")


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; whole numbers get their commas."""
    lines = [head, ["---"] * len(head), *rows]
    shown = ([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line]
             for line in lines)  # fmt: skip
    return "\n".join(f"| {' | '.join(cells)} |" for cells in shown)
