"""``python -m parity.reliability kill``: processes killed at random moments."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.reliability.aftermath import Place, leftovers, make_old
from parity.reliability.killing import WORKS, Killed, Work, finish, kill_once, prepare
from parity.reliability.showing import bar, markdown

HEAD = ("killed", "times", "while it wrote", "believed, lost, locked or left running",
        "next one did not end", "leftovers after an hour")  # fmt: skip
NEXT, STAY = "the next one: ", "stays: "


def kill(
    count: Annotated[int, typer.Option(help="Kills, spread over the three commands.", min=3)] = 50,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to work, and to go on if it was interrupted. Default: a temporary folder.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Kill capture, run and the writing of reports, and see that nothing half-written is believed.

    Each is started as a user would start it and killed (SIGKILL, with its process group) at a
    random moment: half of the moments lie anywhere in it, half within 0.05 s of its first write.
    What it had started has to end by itself. Then all bundles, reports, `reports/latest`, the
    history and the locks have to be sound, and the next run has to end well. In the end what was
    left behind is made two hours old, and has to go.
    """
    with tempfile.TemporaryDirectory(prefix="parity-kill-") as name:
        found = _kill_all(Path(folder or name).absolute(), count, seed)
    typer.echo(markdown(HEAD, [_row(work, found) for work in WORKS]))
    wrong = [f"{one.work}, after {one.moment:.2f} s: {text}" for one in found for text in one.wrong]
    for text in wrong:
        typer.echo(text, err=True)
    raise typer.Exit(1 if wrong else 0)


def _kill_all(root: Path, count: int, seed: int) -> list[Killed]:
    """Kill so many times, but for those that are noted in the folder already."""
    notes = root / "kills.jsonl"
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    found = [Killed(**json.loads(line)) for line in lines]
    with bar("killing", count) as tell:
        place = prepare(root)
        for done in found:
            tell(done.work)
        seconds: dict[str, float] = {}
        for trial in range(len(found), count):
            work = WORKS[trial % len(WORKS)]
            if work.name not in seconds:
                work.undo(place)
                seconds[work.name] = finish(work, place)
            found.append(_trial(work, place, seconds[work.name], random.Random(f"{seed}:{trial}")))
            with notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found[-1])) + "\n")
            tell(work.name)
    if found:
        found[-1].wrong += [f"{STAY}{path}" for path in _stay(place)]
    return found


def _trial(work: Work, place: Place, seconds: float, chance: random.Random) -> Killed:
    """Kill a work once, then let it come to its end."""
    found = kill_once(work, place, seconds, chance)
    try:
        finish(work, place)
    except ParityError as error:
        found.wrong.append(f"{NEXT}{error}")
    return found


def _stay(place: Place) -> list[Path]:
    """The leftovers that nobody removes, even when they are old."""
    make_old(leftovers(place))
    for work in WORKS:
        work.undo(place)
        finish(work, place)
    return leftovers(place)


def _row(work: Work, found: Sequence[Killed]) -> Sequence[object]:
    """A work's line in the table."""
    mine = [one for one in found if one.work == work.name]
    wrong = [text for one in mine for text in one.wrong]
    later = sum(text.startswith(NEXT) for text in wrong)
    stay = sum(text.startswith(STAY) for text in wrong)
    writing = sum(one.writing for one in mine)
    return work.name, len(mine), writing, len(wrong) - later - stay, later, stay
