"""The finished parts of a run: what became of one unit, in a file that is whole or not there.

A part is a small run of its own, written as ``rows.json`` is, which bears a hash of its content.
What the whole run's provenance needs of it stands in its own. It is believed only if it has that
hash, and says that it is this unit of this very run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from parity.core.coverage import Coverage, coverages
from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.core.rows import RunResult
from parity.report.plain_io import decode, encode
from parity.report.rows_io import read_json, to_json
from parity.workers.orders import Unit

SUFFIX, PART = ".part", "part"


@dataclass(frozen=True)
class Fact:
    """A name and what goes by it."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What the provenance of the whole run needs to know of a unit."""

    unit: Unit
    run: str
    when: str
    """It was finished, ISO 8601 in UTC."""
    seconds: float
    memory: int
    """The most that was resident at once in its process, in MB."""
    opened: tuple[Fact, ...] = ()
    """Bundles, and the hash of each."""
    made_with: tuple[Fact, ...] = ()
    """What the reference ran on."""
    device: tuple[Fact, ...] = ()
    """What the candidate says of its device."""
    environment: tuple[Fact, ...] = ()
    """Variables of its process that change numbers: frameworks set some as they are loaded."""


@dataclass(frozen=True)
class Part:
    """One finished unit."""

    facts: Facts
    result: RunResult

    @property
    def covered(self) -> list[Coverage]:
        """What was compared."""
        # A figure that is no number is text in JSON.
        return [replace(one, weight_rounding=float(one.weight_rounding))
                for one in coverages(self.result.ledger)]  # fmt: skip


def part_path(folder: Path, number: int) -> Path:
    """Where a unit's part belongs."""
    return folder / f"{number:04d}{SUFFIX}"


def write_part(folder: Path, number: int, part: Part) -> None:
    """Keep a finished unit: when this returns it survives a loss of power.

    Raises:
        ParityError: it cannot be written.
    """
    part.result.provenance = {PART: encode(part.facts)}
    path = part_path(folder, number)
    with temporary_beside(path) as temporary, temporary.open("wb") as file:
        file.write(to_json(part.result).encode())
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def read_part(folder: Path, number: int, unit: Unit, run: str) -> Part:
    """The part of a unit.

    Raises:
        ParityError: it is damaged, or another unit's or run's.
    """
    path = part_path(folder, number)
    result = read_json(path)
    try:
        facts: Facts = decode(Facts, result.provenance[PART], PART)
    except (KeyError, TypeError, ValueError) as error:
        raise ParityError(f"{path} is no part of a run: {error}") from error
    if (facts.unit, facts.run) != (unit, run):
        raise ParityError(f"{path} is of another unit or run: {facts.unit.name}")
    return Part(facts, result)


def sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
