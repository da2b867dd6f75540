"""Several processes at once on one empty cache: each has to end well, and to capture no more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.reliability.aftermath import Place, complaints
from parity.reliability.material import CASE, DTYPE, command, environment
from parity.reliability.trials import Trial

RUNS, WORKERS = 2, 4
PATIENCE = 3600.0


def crowd(folder: Path) -> Iterator[Trial]:
    """Let runs share a cache, then the workers of one ``pytest``; each kind finds it empty."""
    folder.mkdir(parents=True)
    place = Place(folder)
    options = ["run", "--case", CASE, "--dtype", DTYPE, "--bundles", str(place.bundles),
               "--history", str(place.history)]  # fmt: skip
    yield from _at_once(place, [command(options)] * RUNS)
    yield _expect(place.runs_recorded() == RUNS, "a run is not in the history")
    yield from _captured(place.bundles, 1)
    cache = folder / "cache"
    tests = [sys.executable, "-m", "pytest", "-q", "-n", str(WORKERS), "-p", "no:cacheprovider",
             "--dist", "worksteal", "--case", CASE, "--case", "single-image", "-k", "text",
             str(Path(__file__).parents[1] / "suites")]  # fmt: skip
    yield from _at_once(place, [tests], {"XDG_CACHE_HOME": str(cache)})
    yield from _captured(cache / "parity" / "bundles", 2)
    for text in complaints(place):
        yield Trial(wrong=text)


def _at_once(
    place: Place, commands: Sequence[Sequence[str]], more: dict[str, str] | None = None
) -> Iterator[Trial]:
    """Start commands together and wait for all."""
    started = [
        subprocess.Popen(one, cwd=place.root, env={**environment(), **(more or {})},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for one in commands
    ]  # fmt: skip
    for process in started:
        said, _ = process.communicate(timeout=PATIENCE)
        yield _expect(process.returncode == 0, f"ended with {process.returncode}: {said[-500:]}")


def _captured(bundles: Path, count: int) -> Iterator[Trial]:
    """See that each bundle was made once, and is whole."""
    there = list(bundles.glob("[!.]*/"))
    yield _expect(len(there) == count, f"{len(there)} bundles instead of {count}: {there}")
    yield _expect(not list(bundles.glob(".*")), "an unfinished bundle was left behind")


def _expect(holds: bool, otherwise: str) -> Trial:
    return Trial(wrong="" if holds else otherwise)
