"""The tables, as they are now; `migrations` brings older ones here.

A row of a run is a handful of small numbers: what it is about is said once, in ``series``, and its
gates once, in ``gate``. NaN is stored as -1, since SQLite would make it NULL, which stands for a
figure that does not exist; ratios are never negative.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

VERSION = 3
"""Of the schema."""

metadata = MetaData()

schema = Table(
    "parity_schema",
    metadata,
    Column("version", Integer, nullable=False),
    Column("writes", BigInteger, nullable=False, comment="Counts writers, one at a time"),
    Column("checksum", String(32), comment="Of all runs; NULL until one is written by schema 3"),
)
environment = Table(
    "parity_environment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(32), nullable=False, unique=True),
    Column("soc", Text, nullable=False),
    Column("cann", Text, nullable=False),
    Column("mindspore", Text, nullable=False),
    Column("driver", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("checkpoint", Text, nullable=False),
)
run = Table(
    "parity_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(32), nullable=False, unique=True),
    Column("at", BigInteger, nullable=False, index=True, comment="Seconds since 1970, UTC"),
    Column("commit_name", Text, nullable=False),
    Column("environment", ForeignKey(environment.c.id), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("facts", Text, comment="Other provenance as JSON; NULL in runs of schema 1"),
    Column("checksum", String(32), comment="Of the entries; NULL in runs of schemas 1 and 2"),
)
series = Table(
    "parity_series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(32), nullable=False, unique=True),
    Column("case_name", Text, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("point", Text, nullable=False),
    Column("firing", BigInteger, nullable=False),
    Column("place", BigInteger, nullable=False, comment="Execution order, of the newest run"),
)
gate = Table(
    "parity_gate",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("figure", String(16), nullable=False, comment="whole, row, column or update"),
    Column("value", REAL, nullable=False),
)
entry = Table(
    "parity_entry",
    metadata,
    Column("run", ForeignKey(run.c.id), primary_key=True, autoincrement=False),
    Column("series", ForeignKey(series.c.id), primary_key=True, autoincrement=False),
    Column("verdict", SmallInteger, nullable=False, comment="Place in VERDICTS"),
    Column("local", REAL, comment="Ratio; -1 is NaN, NULL no such figure"),
    Column("local_gate", ForeignKey(gate.c.id)),
    Column("end_to_end", REAL),
    Column("end_gate", ForeignKey(gate.c.id)),
    # The key is the table: half the size of one beside a table, and a run's rows lie together.
    sqlite_with_rowid=False,
)

VERDICTS = (
    "PASS", "GUILTY", "VICTIM", "DRIFT", "MISSING", "EXTRA", "SHAPE", "DTYPE", "NONFINITE",
    "EMPTY", "UNSUPPORTED", "ABSENT",
)  # fmt: skip
"""What the numbers in ``entry.verdict`` stand for. Only ever add to its end."""
