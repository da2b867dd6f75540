"""The gates file of one dtype on one device: gates, what they lie between, and who measured them.

TOML, made for reading and for comparing two versions line by line: a line a role, and below that
the distributions from which its figures follow. ``parity/gates/CPU-fp32.toml`` is one. A file that
was measured carries a hash of what it says; one that is written by hand may do without.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from parity.core.errors import ParityError
from parity.core.files import read_text
from parity.core.stats import Gate
from parity.core.store import json_hash
from parity.core.toml_text import toml_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 4 << 20
SCOPES = ("local", "end_to_end")
FIGURES = tuple(one.name for one in fields(Gate))
ALWAYS = ("whole", "row", "column")
"""Figures that every role has; only residual blocks have an update."""
HASH = "sha256"
"""Of all else in canonical JSON; a comment or another order of lines does not change it."""
TABLES = ("measured", "predicted", *SCOPES, "distributions", "faults")
Figures = Mapping[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Distribution:
    """The ratios of one figure that the faithful port showed, and the planted faults' largest."""

    count: int
    q50: float
    q90: float
    q99: float
    largest: float
    at: str = ""
    """Point, case and seed of the largest."""
    fault_largest: float = 0.0
    """The largest ratio that any planted fault showed here, at whatever point it came through."""


@dataclass(frozen=True)
class Margin:
    """How a planted fault stands to the gates at its own point, by the figure that shows it most.

    ``seen`` is whether it exceeds the gate. If it does not, ``why`` says what hides it.
    """

    point: str
    role: str
    case: str
    scope: str
    figure: str
    ratio: float
    faithful: float
    """The faithful port's largest ratio of this role, scope and figure."""
    gate: float
    seen: bool
    why: str = ""

    @property
    def times(self) -> float:
        """How many times the gate the fault's ratio is."""
        return self.ratio / self.gate


@dataclass(frozen=True)
class GatesFile:
    """The content of a gates file."""

    measured: Mapping[str, Any]
    """Date, versions, machine, seeds, cases, and the false alarms on seeds that were held out."""
    gates: Mapping[str, Mapping[str, Figures]]
    """Largest passing ratio by scope, role and figure."""
    distributions: Mapping[str, Mapping[str, Mapping[str, Distribution]]] = field(
        default_factory=dict
    )
    """By scope, role and figure."""
    faults: Mapping[str, Margin] = field(default_factory=dict)
    """By the fault's name."""
    predicted: Mapping[str, Any] = field(default_factory=dict)
    """In the place of ``measured``: date, model and cases, where nothing was measured."""


def gates_path(folder: Path, device: str, dtype: str) -> Path:
    """Where the gates of ``dtype`` on ``device`` are; an index behind a colon does not count."""
    return folder / f"{device.partition(':')[0]}-{dtype}.toml"


def read_gates_file(path: Path) -> GatesFile:
    """Read and check a gates file.

    Raises:
        ParityError: it is missing, damaged, lacks a gate or has one that cannot gate.
    """
    data = _toml(path)
    claimed = data.pop(HASH, None)
    if strange := set(data) - set(TABLES):
        raise ParityError(f"{path} has unknown tables {sorted(strange)}; known: {list(TABLES)}")
    gates = {scope: _roles(data.get(scope), scope, path) for scope in SCOPES}
    if set(gates["local"]) != set(gates["end_to_end"]):
        different = sorted(set(gates["local"]) ^ set(gates["end_to_end"]))
        raise ParityError(f"{path}: {different} have to have a gate in both of {list(SCOPES)}")
    if "measured" in data and "predicted" in data:
        raise ParityError(f"{path} has [measured] and [predicted]; gates are the one or the other")
    found = _table(data.get("distributions", {}), "distributions", path)
    distributions = {
        scope: {
            role: _records(figures, Distribution, f"distributions.{scope}.{role}", path)
            for role, figures in _table(roles, f"distributions.{scope}", path).items()
        }
        for scope, roles in found.items()
    }
    content = GatesFile(
        measured=_table(data.get("measured", {}), "measured", path),
        gates=gates,
        distributions=distributions,
        faults=_records(data.get("faults", {}), Margin, "faults", path),
        predicted=_table(data.get("predicted", {}), "predicted", path),
    )
    _check_hash(data, claimed, path)
    return content


def _check_hash(data: Mapping[str, Any], claimed: Any, path: Path) -> None:
    """See that what was measured is what is read.

    Raises:
        ParityError: it is not.
    """
    if claimed is None:
        return
    try:
        same = claimed == json_hash(data)
    except (TypeError, RecursionError):
        same = False
    if not same:
        raise ParityError(
            f"{path} is damaged, or was edited: its content does not match its own {HASH}. Get the "
            f"file again, or measure again with `python -m parity calibrate`; gates that are "
            f"written by hand do without the line {HASH}"
        )


def _toml(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise ParityError(
            f"cannot read the gates file {path}: {error.strerror}; `python -m parity calibrate` "
            "makes it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ParityError(f"the gates file {path} is not TOML: {error}") from error
    return data


def _table(value: Any, name: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParityError(f"{path}: [{name}] has to be a table; it is {value!r}")
    return value


def _roles(value: Any, scope: str, path: Path) -> dict[str, Figures]:
    """The gates of one scope."""
    table = _table({} if value is None else value, scope, path)
    if not table:
        raise ParityError(
            f"{path} has no gates in [{scope}]; measure them with `python -m parity calibrate`"
        )
    return {role: _figures(figures, f"[{scope}] {role}", path) for role, figures in table.items()}


def _figures(value: Any, where: str, path: Path) -> Figures:
    """The gates of one role."""
    names = set(value) if isinstance(value, dict) else set()
    if not set(ALWAYS) <= names <= set(FIGURES):
        raise ParityError(
            f"{path}: {where} must name {', '.join(ALWAYS)}, and may name update; it has "
            f"{sorted(names) if isinstance(value, dict) else value!r}"
        )
    for name, ratio in value.items():
        number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
        if not number or not 0 < ratio <= sys.float_info.max:
            raise ParityError(
                f"{path}: {where} {name} = {ratio!r} cannot gate anything; it has to be a "
                "positive number"
            )
    return {name: float(value[name]) for name in FIGURES if name in value}


def _records(value: Any, kind: type[T], where: str, path: Path) -> dict[str, T]:
    """A table of inline tables as objects of a dataclass."""
    try:
        return {name: kind(**entry) for name, entry in _table(value, where, path).items()}
    except TypeError as error:
        raise ParityError(f"{path}: [{where}] is damaged: {error}; measure again") from error


HEADER = """\
# The largest ratios that pass, by scope, kind of module and figure. Made by
# `python -m parity calibrate`; `python -m parity gates` lists them with their headroom.
"""

PREDICTED = """\
# PREDICTED from a model of the device: NOTHING HERE WAS MEASURED ON HARDWARE. The largest ratios
# that pass, by scope, kind of module and figure. Made by `python -m parity predict-gates`;
# `python -m parity calibrate --device` measures them on the device, and replaces this file.
"""


def gates_text(content: GatesFile) -> str:
    """``content`` as the text of a file."""
    lines = ["[predicted]" if content.predicted else "[measured]"]
    about = content.predicted or content.measured
    lines += [f"{name} = {toml_value(value)}" for name, value in about.items()]
    for scope, roles in content.gates.items():
        width = max(map(len, roles))
        lines += ["", f"[{scope}]"]
        lines += [f"{role:{width}} = {toml_value(figures)}" for role, figures in roles.items()]
    lines += ["", "[faults]"]
    for name, margin in sorted(content.faults.items(), key=lambda item: item[1].times):
        lines.append(f"{name} = {_inline(asdict(margin))}")
    for scope, table in content.distributions.items():
        for role, found in table.items():
            lines += ["", f"[distributions.{scope}.{role}]"]
            lines += [f"{name:6} = {_inline(asdict(one))}" for name, one in found.items()]
    body = "\n".join(lines) + "\n"
    header = PREDICTED if content.predicted else HEADER
    return f'{header}{HASH} = "{json_hash(tomllib.loads(body))}"\n\n{body}'


def _inline(table: Mapping[str, Any]) -> str:
    """A row of a table; ratios to four digits."""
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in table.items()}
    return toml_value(short)
