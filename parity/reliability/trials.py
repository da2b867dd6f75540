"""Bad places, times and neighbours, each tried on everything that the harness writes and reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.store import FORMAT, MANIFEST, Bundle, json_hash, last_used, mark_used
from parity.reliability import samples
from parity.reliability.aftermath import Place, complaints, leftovers, make_old
from parity.reliability.small_place import SmallPlace
from parity.reliability.writers import WRITES, bundle, history, report
from parity.report.rows_io import READ, read_json, to_json
from parity.runs import find_run, finished

YEARS = timedelta(days=3650)


@dataclass(frozen=True)
class Trial:
    """Something that was tried."""

    refused: bool = False
    """Whether it ended with the documented error, rather than well."""
    wrong: str = ""
    """What is wrong about how it ended; empty if nothing."""


def full_disk(folder: Path, steps: int) -> Iterator[Trial]:
    """Write everything with more and more room, from none to enough; then once more with plenty."""
    small = SmallPlace(folder)
    try:
        place = Place(small.folder / "place")
        for name, write in WRITES.items():
            write(place, 0)
            for step in range(steps):
                with small.room(4096 + step * (1 << 20) // steps):
                    yield _tried(place, name, step + 1)
                yield from _sound(place, f"{name} with little room")
            yield _tried(place, name, steps + 1, must=True)
    finally:
        small.close()


def read_only(folder: Path) -> Iterator[Trial]:
    """Write everything where nothing can be written; read what is there."""
    small = SmallPlace(folder)
    try:
        if not small.mounted:
            return  # root may write everywhere else
        place = Place(small.folder / "place")
        for name, write in WRITES.items():
            write(place, 0)
            with small.read_only():
                trial = _tried(place, name, 1)
                written = trial.wrong or f"{name} was written nevertheless"
                yield trial if trial.refused else Trial(wrong=written)
                yield from _sound(place, f"{name} that is read-only", looking=True)
            yield _tried(place, name, 2, must=True)
    finally:
        small.close()


def _tried(place: Place, name: str, number: int, must: bool = False) -> Trial:
    """Write one thing: it has to end well, or, unless it must, with an error that says where."""
    try:
        WRITES[name](place, number)
    except ParityError as error:
        named = str(place.root) in str(error) and not must
        return Trial(refused=True, wrong="" if named else f"{name}: {error}")
    except Exception as error:
        return Trial(wrong=f"{name}: {error!r}")
    return Trial()


def _sound(place: Place, when: str, looking: bool = False) -> Iterator[Trial]:
    """See that all that is there is whole; nothing half-written may have a name."""
    for text in complaints(place, locks=not looking):
        yield Trial(wrong=f"{when}: {text}")
    if leftovers(place):
        yield Trial(wrong=f"{when}: {leftovers(place)[0]} was left behind")
    yield Trial()


def clock_back(folder: Path, years: timedelta = YEARS) -> Iterator[Trial]:
    """Go on where all that is there is from the future, as after a clock was set back."""
    place = Place(folder)
    for write in (bundle, report, history):
        write(place, 0)
    ahead = time.time() + years.total_seconds()
    (old,) = finished(place.reports)
    future = old.with_name(f"{int(old.name[:4]) + 10}{old.name[4:]}")
    old.rename(future)
    for path in [*folder.rglob("*")]:
        os.utime(path, (ahead, ahead), follow_symlinks=False)
    for write in (report, history, bundle):
        write(place, 1)
    newest = find_run("latest", place.reports).parent
    yield _expect(newest.name > future.name, "the newest run is not the one written last")
    yield _expect(newest.samefile(place.reports / "latest"), "latest leads to another run")
    mark_used(place.bundles / "b-0")
    yield _expect(last_used(place.bundles / "b-0") < ahead - 9, "a used bundle stays in the future")
    yield from _abandoned(place, ahead)
    yield _expect(place.runs_recorded() == 2, "the history did not take a run")
    yield from _sound(place, "after the clock was set back")


def _abandoned(place: Place, ahead: float) -> Iterator[Trial]:
    """What a killed process left behind in the future goes all the same."""
    left = [place.reports / "runs" / ".run.new-0123456789ab", place.root / ".gates.toml.4194304"]
    left[0].mkdir()
    left[1].touch()
    for path in left:
        os.utime(path, (ahead, ahead))
    report(place, 2)
    WRITES["single file"](place, 2)
    for path in left:
        yield _expect(not path.exists(), f"{path.name}, from the future, stays for ever")
    make_old(leftovers(place))


def _expect(holds: bool, otherwise: str) -> Trial:
    return Trial(wrong="" if holds else otherwise)


def other_versions(folder: Path) -> Iterator[Trial]:
    """Read bundles, rows and a history of formats that this version does not know."""
    place = Place(folder)
    bundle(place, 0)
    manifest = place.bundles / "b-0" / MANIFEST
    sound = json.loads(manifest.read_text(encoding="utf-8"))
    del sound["sha256"]
    for number in (None, 0, 1, FORMAT - 1, FORMAT + 1, 99, "3"):
        content = {**sound, "format": number}
        manifest.write_text(json.dumps({**content, "sha256": json_hash(content)}), encoding="utf-8")
        yield _refused(lambda: Bundle.open(place.bundles / "b-0"), place.bundles / "b-0")
    rows, found = folder / "rows.json", json.loads(to_json(samples.result()))
    del found["sha256"]
    for number in (None, 0, 1, READ[0] - 1, READ[-1] + 1, 99, str(READ[-1])):
        rows.write_text(json.dumps({**found, "format": number}), encoding="utf-8")
        yield _refused(lambda: read_json(rows), rows)
    yield from _other_histories(place)


def _other_histories(place: Place) -> Iterator[Trial]:
    """Histories of later schemas; they are left as they are."""
    import sqlite3

    from parity.history.tables import VERSION

    history(place, 0)
    for number in (VERSION + 1, 99, 2**31):
        connection = sqlite3.connect(place.history)
        with connection:
            connection.execute(f"UPDATE parity_schema SET version = {number:d}")
        connection.close()
        before = place.history.read_bytes()
        yield _refused(lambda: history(place, 1), "schema")
        yield _expect(place.history.read_bytes() == before, "a later history was changed")


def _refused(read: object, name: object) -> Trial:
    """Read what must not be believed."""
    assert callable(read)
    try:
        read()
    except ParityError as error:
        return Trial(refused=True, wrong="" if str(name) in str(error) else f"not named: {error}")
    return Trial(wrong=f"{name} was believed")
