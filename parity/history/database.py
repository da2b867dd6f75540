"""The history database: runs go in whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from parity.core.errors import ParityError
from parity.history import tables
from parity.history.checksums import Damaged, checked_runs, seal, seal_run
from parity.history.engine import WAIT, clear_errors, connect, file_of
from parity.history.environment import Environment
from parity.history.migrations import refuse_newer, take_turn, upgrade, version_of
from parity.history.record import RunRecord
from parity.history.rows import entry_values, figures_of, series_values
from parity.history.texts import digest, restored, stored


@dataclass(frozen=True)
class RunInfo:
    """A run in the history, without its rows."""

    id: int
    digest: str
    when: datetime
    """UTC."""
    commit: str
    environment: Environment
    passed: bool
    entries: int
    facts: Mapping[str, str]
    """What may change a ratio and is not in the environment; empty if it was not kept."""
    checksum: str | None = None
    """Of its entries, if one was kept (see `checksums`)."""


class History:
    """A database that holds runs.

    Every method raises ``ParityError`` if the database cannot be reached, read or written; the
    message names it and the fix.
    """

    def __init__(self, url: str, *, wait: float = WAIT) -> None:
        self.engine: Engine = connect(url, wait=wait)
        self._ready = False

    def append(self, record: RunRecord) -> bool:
        """Add a run, unless it is there already; return whether it was added.

        Either all of it is added or, whatever happens, nothing.
        """
        with self.writing() as connection:
            if record.digest in {run["digest"] for run in checked_runs(connection)}:
                return False
            seal_run(connection, _insert(connection, record))
            seal(connection)
        return True

    def runs(self) -> list[RunInfo]:
        """All runs, the oldest first."""
        with self.reading() as connection:
            return [_info(row) for row in checked_runs(connection)]

    def remove(self, runs: Sequence[int]) -> None:
        """Remove runs with their rows, and what only they were about."""
        with self.writing() as connection:
            checked_runs(connection)
            for one in runs:
                connection.execute(delete(tables.entry).where(tables.entry.c.run == one))
                connection.execute(delete(tables.run).where(tables.run.c.id == one))
            _forget_unused(connection)
            seal(connection)
        if runs and file_of(self.engine.url) is not None:
            self._shrink()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other process's writing overlaps."""
        with clear_errors(self.engine.url):
            self._prepare()
            with self.engine.execution_options(writes=True).begin() as connection:
                take_turn(connection)
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees the database as it is at one moment."""
        with clear_errors(self.engine.url):
            file = file_of(self.engine.url)
            if file is not None and not file.exists():
                raise ParityError(
                    f"there is no history at {file} yet: `python -m parity run` begins one, and "
                    "--history names another place."
                )
            self._prepare()
            with self.engine.begin() as connection:
                yield connection

    def _prepare(self) -> None:
        """Make or migrate the tables, once; others may be doing the same at this moment."""
        if self._ready:
            return
        if (file := file_of(self.engine.url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with self.engine.begin() as connection:
            found = version_of(connection)
        refuse_newer(found or 0)
        if found != tables.VERSION:
            self._upgrade()
        self._ready = True

    def _upgrade(self) -> None:
        """Make or migrate the tables; of two processes that make them at once, one may fail."""
        try:
            with self.engine.execution_options(writes=True).begin() as connection:
                upgrade(connection)
        except SQLAlchemyError:
            with self.engine.begin() as connection:
                if version_of(connection) != tables.VERSION:
                    raise

    def _shrink(self) -> None:
        """Give the room of removed rows back to the file system, unless somebody is reading."""
        with suppress(sqlite3.OperationalError), self.engine.connect() as connection:
            connection.connection.cursor().execute("VACUUM")


def _insert(connection: Connection, record: RunRecord) -> int:
    """Insert a run that is not there; return its number."""
    values = {
        "digest": record.digest,
        "at": int(record.when.timestamp()),
        "commit_name": stored(record.commit),
        "environment": _environment(connection, record.environment),
        "passed": record.passed,
        "entries": len(record.entries),
        "facts": json.dumps(dict(record.facts)),
    }
    run = _added(connection, tables.run, values)
    series, gates = _series(connection, record), _gates(connection, record)
    connection.execute(
        insert(tables.entry), [entry_values(run, one, series, gates) for one in record.entries]
    )
    return run


def _added(connection: Connection, table: Table, values: Mapping[str, object]) -> int:
    """The number that a new row gets."""
    key = connection.execute(insert(table).values(values)).inserted_primary_key
    return int(key[0])  # type: ignore[index]  # every table has a key


def _environment(connection: Connection, environment: Environment) -> int:
    """The number of an environment, which is added if it is new."""
    table, key = tables.environment, digest(astuple(environment))
    known = connection.execute(select(table.c.id).where(table.c.digest == key)).scalar()
    if known is not None:
        return int(known)
    names = (one.name for one in fields(Environment))
    texts = dict(zip(names, map(stored, astuple(environment)), strict=True))
    return _added(connection, table, {"digest": key, **texts})


def _series(connection: Connection, record: RunRecord) -> Mapping[str, int]:
    """The number of every series by its digest; what is new is added, what moved gets its place."""
    table = tables.series
    query = select(table.c.digest, table.c.id, table.c.place)
    known = {key: (number, place) for key, number, place in connection.execute(query)}
    wanted = [series_values(entry) for entry in record.entries]
    if new := [values for values in wanted if values["digest"] not in known]:
        connection.execute(insert(table), new)
    for values in wanted:
        old = known.get(values["digest"])
        if old is not None and old[1] != values["place"]:
            connection.execute(
                update(table).where(table.c.id == old[0]).values(place=values["place"])
            )
    if not new:
        return {key: number for key, (number, _) in known.items()}
    return {key: number for key, number, _ in connection.execute(query)}


def _gates(connection: Connection, record: RunRecord) -> Mapping[tuple[str, float], int]:
    """The number of every figure and gate; what is new is added."""
    query = select(tables.gate.c.figure, tables.gate.c.value, tables.gate.c.id)

    def known() -> dict[tuple[str, float], int]:
        return {(figure, value): number for figure, value, number in connection.execute(query)}

    wanted = {pair for entry in record.entries for pair in figures_of(entry)}
    if new := sorted(wanted - known().keys()):
        values = [{"figure": figure, "value": value} for figure, value in new]
        connection.execute(insert(tables.gate), values)
    return known()


def _forget_unused(connection: Connection) -> None:
    """Remove environments, series and gates that no run is about."""
    entry = tables.entry.c
    for table, columns in (
        (tables.environment, [tables.run.c.environment]),
        (tables.series, [entry.series]),
        (tables.gate, [entry.local_gate, entry.end_gate]),
    ):
        unused = [table.c.id.not_in(select(one).where(one.is_not(None))) for one in columns]
        connection.execute(delete(table).where(*unused))


def _info(row: Mapping[str, Any]) -> RunInfo:
    """A run from its row in the database.

    Raises:
        Damaged: a value is none that was ever written; a run without a checksum may have one.
    """
    try:
        return _read(row)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise Damaged(f"the history is damaged: run {row['id']} says nonsense ({error})") from error


def _read(row: Mapping[str, Any]) -> RunInfo:
    environment = Environment(*(restored(row[one.name]) for one in fields(Environment)))
    when = datetime.fromtimestamp(row["at"], timezone.utc)
    return RunInfo(
        row["id"], row["digest"], when, restored(row["commit_name"]), environment,
        bool(row["passed"]), row["entries"], json.loads(row["facts"] or "{}"), row["checksum"],
    )  # fmt: skip
