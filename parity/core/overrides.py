"""Overrides: another gate for points that are named, with a written reason.

A file of them is TOML, one table an override::

    [[override]]
    point = "visual.blocks.*.attn"     # * and ? match
    k = 40                             # largest ratio that passes
    reason = "softmax of CANN 8.0.RC2 is 30 times less accurate; reported as 1234"
    dtype = "fp16"                     # this and all below may be left out
    device = "Ascend"
    case = "odd-video"
    scope = "local"                    # or "end_to_end"
    figures = ["row"]                  # of whole, row, column, update
    expires = 2026-12-31               # the last day on which it holds
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.files import read_text
from parity.core.gates_file import SCOPES
from parity.core.numerics import PRECISIONS
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.stats import Gate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20
REQUIRED = ("point", "k", "reason")
DEVICES = ("CPU", "GPU", "Ascend")
"""As MindSpore names them."""


@dataclass(frozen=True)
class Override:
    """A gate for the points that match a pattern; ``None`` means every one."""

    point: str
    k: float
    """Largest ratio that passes, in place of the measured gate."""
    reason: str
    dtype: str | None = None
    device: str | None = None
    case: str | None = None
    scope: str | None = None
    figures: tuple[str, ...] = ()
    """Empty means all of them."""
    expires: date | None = None

    def applies(self, dtype: str, device: str, case: str) -> bool:
        """Whether it is meant for a run of ``case`` in ``dtype`` on ``device``."""
        wanted = ((self.dtype, dtype), (self.device, device.partition(":")[0]), (self.case, case))
        return all(asked is None or asked == there for asked, there in wanted)

    def covers(self, point: str, scope: str) -> bool:
        """Whether it gates ``point`` in ``scope``."""
        return self.scope in (None, scope) and fnmatchcase(point, self.point)


def load_overrides(path: Path, today: date | None = None) -> tuple[Override, ...]:
    """Read a file of overrides.

    Raises:
        ParityError: it cannot be read, an entry is wrong or says too little, or one has expired.
    """
    try:
        data = tomllib.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise ParityError(f"cannot read the overrides file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ParityError(f"the overrides file {path} is not TOML: {error}") from error
    entries = data.get("override")
    if set(data) != {"override"} or not isinstance(entries, list) or not entries:
        raise ParityError(f"{path} has to hold [[override]] tables and nothing else")
    found = tuple(_override(entry, f"{path}: override {number}")
                  for number, entry in enumerate(entries, 1))  # fmt: skip
    for number, one in enumerate(found, 1):
        if one.expires is not None and one.expires < (today or date.today()):
            raise ParityError(
                f"{path}: override {number}, of {one.point!r} ({one.reason}), expired on "
                f"{one.expires}: see whether it is still needed; remove it, or give it a new date"
            )
    return found


def check_overrides(
    overrides: Sequence[Override], points: Sequence[Point], cases: Collection[str]
) -> None:
    """Refuse overrides that change nothing.

    Args:
        overrides: what is asked for.
        points: every declared point of the model, whatever the run looks at.
        cases: every case there is.

    Raises:
        ParityError: one matches no point with a ratio, or names a case that is not there.
    """
    judged = [point.name for point in points if point.kind in (Kind.FLOAT, Kind.TABLE)]
    exact = [point.name for point in points if point.kind not in (Kind.FLOAT, Kind.TABLE)]
    for one in overrides:
        if one.case is not None and one.case not in cases:
            raise ParityError(
                f"an override of {one.point!r} is for the case {one.case!r}, which is none of "
                f"{', '.join(cases)}"
            )
        if any(fnmatchcase(name, one.point) for name in judged):
            continue
        if any(fnmatchcase(name, one.point) for name in exact):
            raise ParityError(
                f"the override of {one.point!r} matches only points that are compared for "
                "equality; they have no gate to override"
            )
        raise ParityError(
            f"the override of {one.point!r} ({one.reason}) matches none of the {len(points)} "
            "declared points; `python -m parity points` lists them"
        )


def _override(entry: Any, where: str) -> Override:
    """One table as an override."""
    if not isinstance(entry, dict):
        raise ParityError(f"{where} is no table")
    known = {field.name for field in fields(Override)}
    if strange := set(entry) - known:
        raise ParityError(f"{where} has unknown keys {sorted(strange)}; known: {sorted(known)}")
    if lost := [key for key in REQUIRED if key not in entry]:
        raise ParityError(f"{where} lacks {', '.join(lost)}")
    return Override(
        point=_text(entry, "point", where),
        k=_ratio(entry["k"], where),
        reason=_text(entry, "reason", where),
        dtype=_one_of(entry, "dtype", tuple(PRECISIONS), where),
        device=_one_of(entry, "device", DEVICES, where),
        case=_text(entry, "case", where) if "case" in entry else None,
        scope=_one_of(entry, "scope", SCOPES, where),
        figures=_figures(entry.get("figures", []), where),
        expires=_date(entry.get("expires"), where),
    )


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ParityError(f"{where}: {key} = {value!r} has to say something")
    return value.strip()


def _one_of(entry: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> str | None:
    value = entry.get(key)
    if value is not None and value not in allowed:
        raise ParityError(f"{where}: {key} = {value!r} is none of {', '.join(allowed)}")
    return value


def _ratio(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max or not math.isfinite(value):
        raise ParityError(f"{where}: k = {value!r} has to be a positive number")
    return float(value)


def _figures(value: Any, where: str) -> tuple[str, ...]:
    known = [field.name for field in fields(Gate)]
    if not isinstance(value, list) or any(name not in known for name in value):
        raise ParityError(f"{where}: figures = {value!r} has to list some of {', '.join(known)}")
    return tuple(value)


def _date(value: Any, where: str) -> date | None:
    if value is not None and type(value) is not date:
        raise ParityError(f"{where}: expires = {value!r} has to be a date, as 2026-12-31")
    return value
