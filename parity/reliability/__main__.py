"""Command line: ``python -m parity.reliability``."""

from __future__ import annotations

import typer

from parity.options import end_in_one_line
from parity.reliability.corrupt import corrupt
from parity.reliability.fuzz import fuzz
from parity.reliability.kill import kill
from parity.reliability.places import places

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Tries to make the harness believe something wrong, and prints what came of it as rows of "
        "the table in docs/reliability.md.\n\nExit status: **0** nothing wrong was believed, "
        "**1** something was, **2** it could not be tried."
    ),
)


@app.callback()
def _commands() -> None:
    """Keep the commands' names on the command line, even if there is one only."""


app.command()(corrupt)
app.command()(fuzz)
app.command()(kill)
app.command()(places)

if __name__ == "__main__":
    end_in_one_line(app)
