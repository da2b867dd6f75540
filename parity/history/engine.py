"""Connecting to the database, and telling its errors to a person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from parity.core.errors import ParityError
from parity.history.checksums import Damaged

WAIT = 60.0
"""Seconds that a writer waits for others."""
_MOVE_AWAY = "move it away; `history import` takes what the runs' own rows.json still hold"
_FIXES = {
    "locked": "another process is writing to it; try again when that has ended",
    "readonly": "make the file and its folder writable, or name another one with --history",
    "unable to open": "see that its folder can be written, or name another file with --history",
    "malformed": _MOVE_AWAY,
    "damaged": _MOVE_AWAY,
    "not a database": "it is another file; name the history with --history",
    "full": "free some space, and import the run's rows.json",
}
"""What to do about an error that says one of these."""


def connect(url: str, *, wait: float = WAIT) -> Engine:
    """An engine for a URL; nothing is opened yet, and nothing stays open between uses.

    Raises:
        ParityError: it is no URL, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"timeout": wait} if sqlite else {}
        engine = create_engine(parsed, connect_args=arguments, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ParityError(
            "--history is neither a file nor a URL that SQLAlchemy knows; write "
            "postgresql+psycopg://USER@HOST/NAME, for example"
        ) from error
    except ImportError as error:
        raise ParityError(
            f"the history's database needs a driver that is not here ({error}): pip install it; "
            "for postgresql+psycopg it is psycopg[binary]"
        ) from error
    if sqlite:
        _own_transactions(engine)
    return engine


def _own_transactions(engine: Engine) -> None:
    """Let a transaction that writes take SQLite's lock when it begins.

    Python's driver would begin when the first row is changed, after reading: two writers that both
    have read can then only fail. And its tables would be made outside of any transaction.
    """

    @event.listens_for(engine, "connect")
    def leave_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database; ``None`` of another kind, in memory, or given as a URI."""
    name = url.database or ":memory:"
    plain = url.get_backend_name() == "sqlite" and not name.startswith((":memory:", "file:"))
    return Path(name) if plain else None


@contextmanager
def clear_errors(url: URL) -> Iterator[None]:
    """Turn a database's errors into one line that names it (without its password) and the fix."""
    try:
        yield
    except (SQLAlchemyError, OSError, OverflowError, Damaged, UnicodeDecodeError) as error:
        # SQLite quotes what is damaged in its message, which then is no text.
        reason = _reason(error)
        fix = next((text for word, text in _FIXES.items() if word in reason), None)
        shown = file_of(url) or url.render_as_string(hide_password=True)
        raise ParityError(f"the history {shown}: {reason}{f': {fix}' if fix else ''}.") from error


def _reason(error: Exception) -> str:
    """The first line of what the database itself says."""
    quoted = (
        error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else ""
    )
    said = (quoted or str(getattr(error, "orig", None) or error)).strip().splitlines()
    return re.sub(r"\s+", " ", said[0] if said else type(error).__name__)[:300].rstrip(".")
