"""Where the history is: a file of the user's by default, or what SQLAlchemy can reach.

Not among the reports: `make clean` and a CI runner's checkout remove those, and the history has to
outlive the folder that a run was made in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

VARIABLE = "PARITY_HISTORY"
NOWHERE = "none"
"""As the variable's value: keep no history."""

History = Annotated[
    str | None,
    typer.Option(
        "--history",
        help="The history database: a file, or an SQLAlchemy URL such as "
        f"postgresql+psycopg://HOST/NAME. Default: ${VARIABLE}, or else history.sqlite in the "
        "user's data folder.",
        metavar="FILE|URL",
        show_default=False,
    ),
]
NoHistory = Annotated[
    bool, typer.Option("--no-history", help="Do not record this run in the history.")
]


def history_url(given: str | None) -> str | None:
    """The URL of the history; ``None`` if none is to be kept.

    Args:
        given: What ``--history`` says; ``None`` asks the environment, and then the default.
    """
    named = given if given is not None else os.environ.get(VARIABLE)
    if named is None:
        return as_url(default_file())
    if named in ("", NOWHERE):
        return None
    return named if "://" in named else as_url(Path(named))


def as_url(file: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{file.expanduser().absolute()}"


def default_file() -> Path:
    """The user's own history."""
    import platformdirs

    return Path(platformdirs.user_data_dir("parity")) / "history.sqlite"
