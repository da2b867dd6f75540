"""One reader of outside files against many changed ones, drawn by Hypothesis."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from parity.core.errors import ParityError
from parity.reliability.mutate import Change
from parity.reliability.watching import Watch, memory_bound, time_bound

WHOLE = 30
"""One input in so many is the sound file: a reader that refuses everything proves nothing."""


@dataclass(frozen=True)
class Reader:
    """Something that reads files from outside."""

    name: str
    files: Mapping[str, bytes]
    """A sound set of them, by their names in a folder."""
    changes: Mapping[str, Change]
    """The files that are changed, and how."""
    read: Callable[[Path], object]
    """Reads what is in the folder, all of it."""
    documented: tuple[type[Exception], ...] = (ParityError,)
    """The errors that it may raise."""


@dataclass
class Fuzzed:
    """What came of one reader."""

    name: str
    inputs: int = 0
    refused: int = 0
    read: int = 0
    slowest: float = 0.0
    """Seconds."""
    memory: int = 0
    """Bytes by which the process grew at most."""
    findings: list[str] = field(default_factory=list)


class Finding(Exception):  # noqa: N818  # it is what is looked for
    """A reader did what it must not."""


def fuzz_reader(reader: Reader, count: int, seed: int, place: Path,
                tell: Callable[[str], object] = lambda name: None) -> Fuzzed:  # fmt: skip
    """Give a reader ``count`` inputs; of what it must not do, the simplest input found is told.

    Args:
        reader: what is tried.
        count: how many inputs; when something is found, some more that make it simpler.
        seed: the same one draws the same inputs.
        place: an empty folder; what made a finding stays in it.
        tell: called with the reader's name after each input.
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, given
    from hypothesis import strategies as st

    found = Fuzzed(reader.name)
    inside, watch = _lay_out(place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=count, deadline=None, database=None, print_blob=False,
                         phases=(Phase.generate, Phase.shrink),
                         suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def one(chance: Random) -> None:
        _write(reader, inside, chance)
        found.inputs += 1
        tell(reader.name)
        _try(reader, inside, watch, found)

    try:
        with memory_bound():
            one()
    except Exception as error:  # Hypothesis raises one Finding, or a group of different ones
        for finding in getattr(error, "exceptions", (error,)):
            found.findings.append(f"{reader.name}: {finding}; the input is in {inside}")
    finally:
        watch.close()
    found.memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return found


def _lay_out(place: Path) -> tuple[Path, Watch]:
    """A folder for inputs, and one beside it with what the changed files name."""
    outside, inside = place / "outside", place / "inside"
    outside.mkdir(parents=True)
    inside.mkdir()
    for name in ("secret.safetensors", "secret.json"):
        (outside / name).write_bytes(b"{}")
    return inside, Watch(outside)


def _write(reader: Reader, folder: Path, chance: Random) -> None:
    """Lay a sound set of files into the folder, but for one or all of them changed."""
    sound = chance.randrange(WHOLE) == 0
    chosen = chance.choice([*reader.changes, ""])
    for name, content in reader.files.items():
        change = None if sound or chosen not in ("", name) else reader.changes.get(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if change is None else change(content, chance))


def _try(reader: Reader, folder: Path, watch: Watch, found: Fuzzed) -> None:
    """Let a reader read, and see what comes of it."""
    started = time.process_time()
    watch.touched()
    try:
        with time_bound():
            reader.read(folder)
        found.read += 1
    except reader.documented as error:
        found.refused += 1
        if not str(error).strip():
            raise Finding("an error that says nothing") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Finding(f"{type(error).__name__}: {str(error)[:300]}{_where(error)}") from error
    finally:
        found.slowest = max(found.slowest, time.process_time() - started)
    if watch.touched() and _touches_again(reader, folder, watch):
        raise Finding("it touched a file outside of its folder")


def _touches_again(reader: Reader, folder: Path, watch: Watch) -> bool:
    """Whether it was the reader: the kernel does not say who, and others may look around here."""
    watch.touched()
    with suppress(*reader.documented):
        reader.read(folder)
    return watch.touched()


def _where(error: BaseException) -> str:
    """The innermost line of our own code."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if "site-packages" not in frame.filename]  # fmt: skip
    ours = [frame for frame in frames if "reliability" not in frame.filename] or frames
    return f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
