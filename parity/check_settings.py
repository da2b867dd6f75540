"""Checking the names in a run's settings, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import LEVELS
from parity.core.rows import GRAPH, MODES
from parity.settings import CANDIDATES, REFERENCES, Settings, target


def check_settings(settings: Settings) -> None:
    """Check what can be checked without opening a file.

    Raises:
        ParityError: something is named that is not there, or cannot be had together.
    """
    _check_known("level", (settings.level,), LEVELS)
    _check_known("mode", settings.modes or ("",), MODES)
    for dtype in settings.dtypes:
        precision(dtype)
    target(settings.candidate, CANDIDATES, "candidate")
    target(settings.reference, REFERENCES, "reference")
    _check_plant(settings)


def _check_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ParityError(f"unknown {what} {unknown[0]!r}; there are: {', '.join(known)}")


def _check_plant(settings: Settings) -> None:
    """Check that the fault acts in every mode: one without effect would pass."""
    from parity.faults import find

    if settings.plant is None or not find(settings.plant).in_block:
        return
    if GRAPH in settings.modes:
        raise ParityError(
            f"the fault {settings.plant!r} is inside a block, and graph mode compiles a block from "
            "the port's own source, where nothing can be planted: plant it with --mode pynative, "
            "or change the source"
        )
