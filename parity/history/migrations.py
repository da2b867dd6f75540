"""The schema's version: a new database gets the present one, an older one is brought up to it.

Each step runs in the transaction that notes its version, under the writers' lock: whoever is killed
on the way leaves the old schema, and two processes never take the same step.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, inspect, select, update

from parity.core.errors import ParityError
from parity.history.tables import VERSION, metadata, schema


def add_facts(connection: Connection) -> None:
    """Schema 2: what else is known about a run, such as the versions of packages."""
    connection.exec_driver_sql("ALTER TABLE parity_run ADD COLUMN facts TEXT")


def add_checksums(connection: Connection) -> None:
    """Schema 3: what tells that a run, or the list of them, is as it was written."""
    connection.exec_driver_sql("ALTER TABLE parity_run ADD COLUMN checksum VARCHAR(32)")
    connection.exec_driver_sql("ALTER TABLE parity_schema ADD COLUMN checksum VARCHAR(32)")


STEPS: dict[int, Callable[[Connection], None]] = {2: add_facts, 3: add_checksums}
"""What leads to each version from the one before it. Never change a step that was released; a step
names tables and columns itself, since `tables` will have moved on."""


def version_of(connection: Connection) -> int | None:
    """The version of the schema in a database; ``None`` if it holds no history yet."""
    if not inspect(connection).has_table(schema.name):
        return None
    return connection.execute(select(schema.c.version)).scalar_one_or_none()


def take_turn(connection: Connection) -> None:
    """Wait until no other process is writing, and keep others waiting until this one commits.

    Every database locks a row that it updates, so this needs nothing that only some have.
    """
    connection.execute(update(schema).values(writes=schema.c.writes + 1))


def upgrade(connection: Connection) -> None:
    """Create the tables, or bring older ones to the present version.

    Raises:
        ParityError: they are of a newer version.
    """
    found = version_of(connection)
    if found is None:
        # Unchecked: if another process has made them since, this fails and enters no second row.
        metadata.create_all(connection, checkfirst=False)
        connection.execute(schema.insert().values(version=VERSION, writes=0))
        return
    take_turn(connection)
    found = version_of(connection) or 0  # again: another process may have been faster
    refuse_newer(found)
    for version in range(found + 1, VERSION + 1):
        STEPS[version](connection)
    connection.execute(update(schema).values(version=VERSION))


def refuse_newer(found: int) -> None:
    """See that a schema is not from the future.

    Raises:
        ParityError: it is.
    """
    if found > VERSION:
        raise ParityError(
            f"the history has schema {found} and this version of parity knows schema {VERSION}: "
            "use the newer parity, or name another database with --history."
        )
