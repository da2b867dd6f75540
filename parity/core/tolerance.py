"""Gates: the largest ratios that pass, for each kind of module and each scope.

They are measured for one dtype on one device and kept in one file each (see ``gates_file``). A
device that was never measured is judged under the CPU's gates, and every run says so: an Ascend
host has no PyTorch to measure with, and the floors, which hold the dtype's rounding and the
reference's own error, are the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.gates_file import SCOPES, gates_path, read_gates_file
from parity.core.overrides import Override
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.stats import Gate

DEFAULT_GATES = Path(__file__).parent.parent / "gates"
HOME = "CPU"
"""The device whose gates stand in for those of a device that was never measured."""
EQUALITY = Gate(whole=0.0, row=0.0, column=0.0, update=0.0)
"""Of a point that is compared for equality: there is no ratio that passes."""
FIGURES = tuple(field.name for field in fields(Gate))


@dataclass(frozen=True)
class Gates:
    """The gates of one dtype."""

    roles: Mapping[str, Mapping[str, Gate]]
    """By scope (``local``, ``end_to_end``) and the point's role."""
    source: str = "gates made by hand"
    """Where they are from, for messages."""
    note: str = ""
    """What a reader of a verdict has to know about them; empty if nothing."""
    everywhere: Gate | None = None
    """One gate for all roles, where none is measured yet."""
    overrides: tuple[Override, ...] = ()
    """Those of this dtype, device and case; a later one goes before an earlier one."""

    def at(self, scope: str, point: Point) -> Gate:
        """The gate of ``point`` in ``scope``: ``local`` or ``end_to_end``.

        Raises:
            ParityError: this kind of module was never measured.
        """
        if point.kind in (Kind.DISCRETE, Kind.EXACT):
            return EQUALITY
        gate = self.everywhere or self.roles[scope].get(point.role)
        if gate is None:
            raise ParityError(
                f"{self.source} has no {scope} gate for {point.name}, whose role is "
                f"{point.role!r}: measure it with `python -m parity calibrate`"
            )
        for override in self.overrides:
            if override.covers(point.name, scope):
                gate = replace(gate, **dict.fromkeys(override.figures or FIGURES, override.k))
        return gate

    def override(self, point: Point) -> str | None:
        """The written reason if ``point`` is judged under an override."""
        if point.kind in (Kind.DISCRETE, Kind.EXACT):
            return None
        found = [one.reason for one in self.overrides for scope in SCOPES
                 if one.covers(point.name, scope)]  # fmt: skip
        return "; ".join(dict.fromkeys(found)) or None


def same_gate(gate: Gate) -> Gates:
    """One gate for every role and scope."""
    return Gates({}, everywhere=gate)


def load_gates(dtype: str, device: str = HOME, folder: Path = DEFAULT_GATES) -> Gates:
    """Read the gates of ``dtype`` on ``device`` (``CPU``, ``Ascend:0``) from ``folder``.

    Raises:
        ParityError: there are none, or their file is not one that can gate.
    """
    path = gates_path(folder, device, dtype)
    note = ""
    if not path.is_file() and path.parent.is_dir():
        name = device.partition(":")[0]
        path = gates_path(folder, HOME, dtype)
        note = (
            f"measured on {HOME}, none on {name} yet: `python -m parity calibrate --device {name}` "
            "measures them, where PyTorch is"
        )
    found = read_gates_file(path)
    if found.predicted:
        name = device.partition(":")[0]
        note = (
            f"PREDICTED for {name} from the numerics model {found.predicted.get('model')}, not "
            f"measured on hardware: `python -m parity calibrate --device {name}` measures them, "
            "where PyTorch is"
        )
    gates = {
        scope: {role: _gate(figures) for role, figures in table.items()}
        for scope, table in found.gates.items()
    }
    return Gates(gates, source=str(path), note=note)


def _gate(figures: Mapping[str, float]) -> Gate:
    """A role's figures; one that never occurred in measuring (an update) lets nothing pass."""
    return Gate(**{name: figures.get(name, math.nan) for name in FIGURES})
