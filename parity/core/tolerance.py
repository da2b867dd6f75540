"""Gates: the largest ratios that pass, measured once and kept in one file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.stats import Gate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path(__file__).parent.parent / "gates.toml"
SCOPES = ("local", "end_to_end", "table")


@dataclass(frozen=True)
class Gates:
    """The gates of one dtype."""

    local: Gate
    end_to_end: Gate
    table: Gate

    def at(self, scope: str, point: Point) -> Gate:
        """The gate of ``point`` in ``scope``: ``local`` or ``end_to_end``."""
        gate: Gate = getattr(self, "table" if point.kind is Kind.TABLE else scope)
        return gate


def load_gates(dtype: str, path: Path = DEFAULT_FILE) -> Gates:
    """Read the gates of ``dtype``.

    Raises:
        ParityError: the file is missing, not TOML, or lacks a gate or has one that cannot gate.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParityError(f"cannot read the gates file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ParityError(f"the gates file {path} is not TOML: {error}") from error
    table = data.get(dtype)
    if not isinstance(table, dict):
        raise ParityError(
            f"{path} has no gates for {dtype}: add a [{dtype}.local] table, or "
            "measure them with `python -m parity calibrate`"
        )
    return Gates(**{scope: _gate(table, dtype, scope, path) for scope in SCOPES})


def _gate(table: Mapping[str, Any], dtype: str, scope: str, path: Path) -> Gate:
    """One ``[dtype.scope]`` table as a gate."""
    values = table.get(scope, {})
    names = {field.name for field in fields(Gate)}
    if not isinstance(values, dict) or set(values) != names:
        found = sorted(values) if isinstance(values, dict) else values
        raise ParityError(
            f"{path}: [{dtype}.{scope}] must name exactly {sorted(names)}; it has {found}"
        )
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= sys.float_info.max:
            raise ParityError(
                f"{path}: [{dtype}.{scope}] {name} = {value!r} cannot gate anything; "
                "it has to be a positive number"
            )
    return Gate(**{name: float(value) for name, value in values.items()})
