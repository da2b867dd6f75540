"""Whether what is read from the history is what was written to it.

A database notices a damaged file only where its structure breaks; a flipped bit in a number is
believed. So every run keeps a checksum of its entries, with the names and gates that they refer to,
and ``parity_schema`` keeps one of all runs together, so that none can change, vanish or come twice,
and of the order in which the rows are shown.
They guard against accidents: whoever can write the file can write another checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from sqlalchemy import Connection, select, update

from parity.history import tables
from parity.history.columns import Columns, GateTable, Ints, entries_of, gates_of, looked_up
from parity.history.environment import Environment
from parity.history.texts import digest, restored


class Damaged(Exception):  # noqa: N818  # it is the history that is; told by engine.clear_errors
    """What a history holds is not what was written to it."""


def checked_runs(connection: Connection) -> list[Mapping[str, Any]]:
    """Every run beside its environment, the oldest first, all as they were written.

    Raises:
        Damaged: they are not.
    """
    rows = _runs(connection)
    known = connection.execute(select(tables.schema.c.checksum)).scalar_one()
    if known is not None and known != _of_runs(connection, rows):
        raise Damaged("the history is damaged: its list of runs is not the one that was written")
    for row in {row["environment"]: row for row in rows}.values():
        if row["environment_digest"] != _environment_digest(row):
            raise Damaged(f"the history is damaged: the environment of run {row['id']} was another")
    return rows


def seal(connection: Connection) -> None:
    """Keep the checksum of all runs, after some were added or removed."""
    checksum = _of_runs(connection, _runs(connection))
    connection.execute(update(tables.schema).values(checksum=checksum))


def seal_run(connection: Connection, run: int) -> None:
    """Keep the checksum of a run's entries, as the database gives them back."""
    entries, series = entries_of(connection, [run]), _series(connection)
    value = _of_entries(entries, *series, gates_of(connection))
    connection.execute(update(tables.run).where(tables.run.c.id == run).values(checksum=value))


def check_entries(
    connection: Connection, entries: Columns, gates: GateTable, known: Mapping[int, str | None]
) -> None:
    """See that the entries of some runs are what was written.

    Args:
        connection: where the names are that they refer to.
        entries: all of those runs' entries.
        gates: every gate.
        known: the checksum of each run; ``None`` where none was kept.

    Raises:
        Damaged: those of a run are not.
    """
    series = _series(connection)
    for run, checksum in known.items():
        mine = {name: values[entries["run"] == run] for name, values in entries.items()}
        if checksum is not None and checksum != _of_entries(mine, *series, gates):
            raise Damaged(f"the history is damaged: run {run} does not have the rows it had")


def _runs(connection: Connection) -> list[Mapping[str, Any]]:
    """Every run with its environment, the oldest first."""
    names = [tables.environment.c[one.name] for one in fields(Environment)]
    query = (
        select(tables.run, tables.environment.c.digest.label("environment_digest"), *names)
        .select_from(tables.run.join(tables.environment))
        .order_by(tables.run.c.at, tables.run.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _of_runs(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> str:
    """The checksum of what each row of ``parity_run`` says, and of the series' places."""
    names = [column.name for column in tables.run.columns]
    series = tables.series.c
    places = connection.execute(select(series.id, series.digest, series.place))
    lines = (repr([row["environment_digest"], *(row[name] for name in names)]) for row in rows)
    return digest((*sorted(lines), *sorted(repr(tuple(row)) for row in places)))


def _environment_digest(row: Mapping[str, Any]) -> str | None:
    """The digest of a run's environment; ``None`` if a text in it is none that was written."""
    try:
        return digest(tuple(restored(row[one.name]) for one in fields(Environment)))
    except (TypeError, ValueError, OverflowError):
        return None


def _series(connection: Connection) -> tuple[Ints, Any]:
    """Numbers of all series in ascending order, and their digests, ``S32``."""
    query = select(tables.series.c.id, tables.series.c.digest).order_by(tables.series.c.id)
    rows = [(number, str(key)) for number, key in connection.execute(query)]
    digests = [key.encode("utf-8", "replace") for _, key in rows]
    return np.array([number for number, _ in rows], np.int64), np.array(digests, "S32")


def _of_entries(entries: Columns, numbers: Ints, digests: Any, gates: GateTable) -> str:
    """The checksum of one run's entries: whatever their order, and whatever number a gate has."""
    order = np.argsort(entries["series"], kind="stable")
    found = hashlib.blake2b(digest_size=16)
    found.update(looked_up(entries["series"][order], numbers, digests, b"").tobytes())
    for name in ("verdict", "local", "end_to_end"):
        found.update(entries[name][order].tobytes())
    for name in ("local_gate", "end_gate"):
        mine = entries[name][order]
        found.update(looked_up(mine, gates.numbers, gates.figures, -1).tobytes())
        found.update(looked_up(mine, gates.numbers, gates.limits, np.nan).tobytes())
    return found.hexdigest()
