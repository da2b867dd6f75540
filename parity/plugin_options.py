"""The options that the pytest plugin adds, and the settings that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parity.core.errors import ParityError
from parity.core.points import LEVELS
from parity.settings import CANDIDATES, REFERENCES, Settings

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--case", {"action": "append", "metavar": "NAME", "help": "only this case (repeatable)"}),
    ("--dtype", {"action": "append", "metavar": "NAME", "help": "only this dtype (repeatable)"}),
    ("--level", {"choices": LEVELS, "help": "block, or module to look inside blocks too"}),
    (
        "--mode",
        {
            "action": "append",
            "metavar": "NAME",
            "help": "pynative, or graph: compiled blocks, inside which nothing is compared "
            "(repeatable)",
        },
    ),
    ("--device", {"help": "device of the candidate: CPU, Ascend:0"}),
    ("--candidate", {"help": f"{', '.join(CANDIDATES)}, or package.module:class"}),
    ("--reference", {"help": f"{', '.join(REFERENCES)}, or package.module:class"}),
    ("--checkpoint", {"type": Path, "help": "Hugging Face checkpoint folder of both sides"}),
    ("--cases-file", {"type": Path, "help": "file that defines the cases"}),
    ("--bundles", {"type": Path, "help": "folder of captured references"}),
    ("--bundle", {"type": Path, "help": "portable bundle (folder or tar file) to run on"}),
    ("--gates", {"type": Path, "help": "folder of the gates files, instead of the measured ones"}),
    ("--overrides", {"type": Path, "help": "file of gates for single points, with reasons"}),
    (
        "--without",
        {
            "action": "append",
            "metavar": "PATTERN",
            "help": "leave these modules out, as if not ported yet (repeatable)",
        },
    ),
    ("--plant", {"metavar": "FAULT", "help": "plant a fault, to see the harness find it"}),
)
REPEATABLE = {"case": "cases", "dtype": "dtypes", "mode": "modes", "without": "without"}
"""Options that are given once for each of several, and the settings that hold them all."""


def add_options(parser: pytest.Parser) -> None:
    """Declare them."""
    group = parser.getgroup("parity", "parity: candidate against reference, layer by layer")
    for name, options in OPTIONS:
        group.addoption(name, default=None, **options)
    group.addoption("--report", type=Path, default=None, metavar="DIR",
                    help="folder of the report (default: a new one in reports/runs, to which "
                    "reports/latest leads)")  # fmt: skip


def settings_of(config: pytest.Config) -> Settings:
    """The settings that were asked for.

    Raises:
        pytest.UsageError: they name a portable bundle that cannot be used.
    """
    names = [name.removeprefix("--").replace("-", "_") for name, _ in OPTIONS]
    given: dict[str, Any] = {name: config.getoption(name) for name in names}
    for single, several in REPEATABLE.items():
        given[several] = tuple(given.pop(single) or ()) or None
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    return settings if settings.bundle is None else _on_bundle(settings, given["dtypes"])


def _on_bundle(settings: Settings, dtypes: tuple[str, ...] | None) -> Settings:
    """The settings of a run on a portable bundle.

    Raises:
        pytest.UsageError: it cannot be used.
    """
    from parity.portable.open import on_bundle

    try:
        return on_bundle(settings, dtypes)
    except ParityError as error:
        raise pytest.UsageError(str(error)) from error
