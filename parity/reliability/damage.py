"""Damaging a file at random, and seeing whether what is read from it afterwards is believed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from parity.core.errors import ParityError

TRUNCATED = 0.1
"""Part of the trials in which the file is cut off; in the others one bit is flipped."""


class Outcome(Enum):
    """What became of a damaged file."""

    REFUSED = "refused by name"
    """With the documented error, which names the file or its folder."""
    EQUAL = "read the same"
    """The damage was in what carries nothing: white space, padding, a page that is not in use."""
    BELIEVED = "believed"
    """It says something else now, and nobody noticed."""
    UNNAMED = "refused without its name"
    CRASHED = "crashed"
    """With another error than the documented one."""

    @property
    def harmless(self) -> bool:
        """Whether nobody was misled."""
        return self in (Outcome.REFUSED, Outcome.EQUAL)


@dataclass(frozen=True)
class Kept:
    """A file that the harness keeps, and how it reads it."""

    name: str
    path: Path
    read: Callable[[], object]
    """All that is ever read of it, to be compared with ``==``; NaN as text."""


@dataclass
class Damages:
    """What became of one file in many trials."""

    kept: Kept
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    """What misled: the trial, the damage and what was said."""


def damage(kept: Kept, count: int, seed: int, tell: Callable[[str], None]) -> Damages:
    """Damage a file ``count`` times, each time from its sound state.

    Args:
        kept: the file. It is sound again afterwards.
        count: trials.
        seed: of the places; the same seed makes the same damages of the same file.
        tell: called with the file's name after each trial.
    """
    found, sound = Damages(kept), kept.read()
    for trial in range(count):
        chance = random.Random(f"{seed}:{kept.name}:{trial}")
        with _damaged(kept.path, chance) as what:
            outcome, said = _outcome(kept, sound)
        found.outcomes[outcome] += 1
        if not outcome.harmless:
            found.findings.append(f"{kept.name}, trial {trial} ({what}): {outcome.value}: {said}")
        tell(kept.name)
    return found


@contextmanager
def _damaged(path: Path, chance: random.Random) -> Iterator[str]:
    """Flip one bit of a file, or cut it off, until the block ends; yield what was done."""
    sound = path.read_bytes()
    place = chance.randrange(len(sound))
    if chance.random() < TRUNCATED:
        what, data = f"cut off after {place} bytes", sound[:place]
    else:
        bit = chance.randrange(8)
        flipped = bytes([sound[place] ^ 1 << bit])
        what, data = f"bit {bit} of byte {place}", sound[:place] + flipped + sound[place + 1 :]
    try:
        path.write_bytes(data)
        yield what
    finally:
        path.write_bytes(sound)


def _outcome(kept: Kept, sound: object) -> tuple[Outcome, str]:
    """Read a damaged file; return what came of it and what was said."""
    try:
        found = kept.read()
    except ParityError as error:
        named = str(kept.path) in str(error) or str(kept.path.parent) in str(error)
        return (Outcome.REFUSED if named else Outcome.UNNAMED), str(error)
    except Exception as error:
        return Outcome.CRASHED, repr(error)
    return (Outcome.EQUAL, "") if found == sound else (Outcome.BELIEVED, "another content")
