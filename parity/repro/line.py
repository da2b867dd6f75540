"""The command that shows one row's failure again."""

from __future__ import annotations

import shlex
from dataclasses import fields

from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.rows import PYNATIVE, Row, Verdict
from parity.repro.folder import check_buildable
from parity.settings import CANDIDATES, Settings

SHARED = ("device", "checkpoint", "cases_file", "bundle", "gates", "plant")
"""Settings that `repro` and `run` take by the same names."""
RUN_ONLY = ("level", "candidate", "overrides", "numerics")


def command_line(settings: Settings, point: Point, row: Row) -> str:
    """The command for one row, from the settings of the run that it comes from.

    It is `repro`, which builds the module by itself, for what is wrong on clean inputs where that
    can be done; else `run`, of this case and point alone.
    """
    words = ["python", "-m", "parity"]
    where = ["--case", row.case, "--dtype", row.dtype]
    # A module by itself knows nothing of numerics models.
    alone = settings.numerics is None and row.mode == PYNATIVE and stands_alone(settings, point)
    if row.verdict is Verdict.GUILTY and alone:
        more = ["--firing", str(row.firing)] if row.firing else []
        folder = f"repro-{point.name}"
        return shlex.join(
            [*words, "repro", point.name, "-o", folder, *where, *more, *_options(settings, SHARED)]
        )
    flags = [] if row.mode == PYNATIVE else ["--mode", row.mode]
    flags += [word for pattern in settings.without for word in ("--without", pattern)]
    flags += [word for name in settings.hf32 for word in ("--hf32", name)]
    named = _options(settings, (*SHARED, *RUN_ONLY))
    return shlex.join([*words, "run", *where, "--point", point.name, *flags, *named])


def stands_alone(settings: Settings, point: Point) -> bool:
    """Whether `repro` can build the point's module: one of the port's."""
    own = settings.candidate in ("mindspore", CANDIDATES["mindspore"])
    try:
        check_buildable(point)
    except ParityError:
        return False
    return own


def _options(settings: Settings, names: tuple[str, ...]) -> list[str]:
    """The options of those settings that are not the usual ones, nor the portable bundle's own."""
    usual = {field.name: field.default for field in fields(Settings)}
    if settings.bundle is not None:
        usual["cases_file"] = settings.cases_file
        if settings.checkpoint.is_relative_to(settings.bundle):
            usual["checkpoint"] = settings.checkpoint
    return [
        word
        for name in names
        if (value := getattr(settings, name)) != usual[name] and value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
