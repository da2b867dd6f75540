"""Everything that the harness writes, each as one small thing with a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np

from parity.core.files import temporary_beside
from parity.core.rows import RunResult
from parity.core.store import BundleWriter
from parity.reliability import samples
from parity.reliability.aftermath import Place

Write = Callable[[Place, int], object]
BEGUN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def bundle(place: Place, number: int) -> None:
    """A bundle of 400 kB."""
    writer = BundleWriter({"number": number})
    writer.add(np.random.default_rng(number).standard_normal(100_000).astype(np.float32))
    writer.write(place.bundles / f"b-{number}")


def report(place: Place, number: int) -> None:
    """A finished run among the others."""
    from parity.runs import publish

    publish(run(number), place.reports)


def history(place: Place, number: int) -> None:
    """A run in the history.

    Raises:
        ParityError: it is not recorded.
    """
    from parity.history.database import History
    from parity.history.place import as_url
    from parity.history.record import record_of

    place.root.mkdir(parents=True, exist_ok=True)
    History(as_url(place.history)).append(record_of(run(number)))


def single(place: Place, number: int) -> None:
    """A file that is written in one piece, as gates are."""
    place.root.mkdir(parents=True, exist_ok=True)
    with temporary_beside(place.root / "gates.toml") as temporary:
        temporary.write_bytes(samples.gates() * 20 + f"# {number}\n".encode())


def run(number: int) -> RunResult:
    """A run of the day with this number."""
    found = samples.result()
    when = (BEGUN + timedelta(days=number)).isoformat()
    return replace(found, provenance={**found.provenance, "when": when})


WRITES: dict[str, Write] = {
    "bundle": bundle, "report": report, "history": history, "single file": single,
}  # fmt: skip
