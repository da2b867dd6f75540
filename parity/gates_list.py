"""The command ``python -m parity gates``: how much room each gate leaves, and what it catches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.gates_file import Distribution, GatesFile, Margin, read_gates_file
from parity.options import GatesFolder
from parity.settings import Settings

HEADROOM = 0.9
"""A faithful ratio over this share of its gate leaves none."""


@dataclass(frozen=True)
class Listed:
    """One gate with what is known about it."""

    file: str
    scope: str
    role: str
    figure: str
    gate: float
    seen: Distribution

    @property
    def tight(self) -> bool:
        """Whether the faithful port's largest ratio is near the gate or over it."""
        return not self.seen.largest < HEADROOM * self.gate

    @property
    def loose(self) -> bool:
        """Whether no planted fault's ratio exceeds the gate."""
        return not self.seen.fault_largest > self.gate

    @property
    def remark(self) -> str:
        """What is wrong with it, in a few words."""
        words = ["no headroom"] * self.tight + ["no planted fault reaches it"] * self.loose
        return ", ".join(words)


def listed(file: str, content: GatesFile) -> Iterator[Listed]:
    """Every gate of a file.

    Raises:
        ParityError: a gate has no distribution.
    """
    for scope, roles in content.gates.items():
        for role, figures in roles.items():
            for figure, gate in figures.items():
                try:
                    seen = content.distributions[scope][role][figure]
                except KeyError:
                    raise ParityError(
                        f"{file}: the {scope} gate {role}.{figure} has no distribution; measure "
                        "it with `python -m parity calibrate`"
                    ) from None
                yield Listed(file, scope, role, figure, gate, seen)


def uncaught(content: GatesFile) -> dict[str, Margin]:
    """Visible faults that the file's gates let through, by name."""
    return {
        name: margin for name, margin in content.faults.items()
        if not margin.why
        and not margin.ratio > content.gates[margin.scope][margin.role][margin.figure]
    }  # fmt: skip


def list_gates(
    every: Annotated[
        bool, typer.Option("--all", help="List every gate, not only those with a remark.")
    ] = False,
    gates: GatesFolder = Settings.gates,
) -> None:
    """List the gates, those without headroom and those that catch nothing.

    *No headroom*: the faithful port's largest ratio is within 10 % of the gate, or over it, so
    the next rounding that differs is a false alarm. *No planted fault reaches it*: whatever was
    planted stays below this figure of this kind of module. That is no error by itself, since a
    fault has to be caught by one figure only.

    Exit status 1 if a gate is looser than a fault that it has to catch.
    """
    files = sorted(gates.glob("*.toml"))
    if not files:
        raise ParityError(f"{gates} holds no gates; `python -m parity calibrate` measures them")
    escaped = 0
    for path in files:
        content = read_gates_file(path)
        escaped += len(uncaught(content))
        for line in _lines(path, content, every):
            typer.echo(line)
    raise typer.Exit(1 if escaped else 0)


def _when(content: GatesFile) -> str:
    """When and how a file was made."""
    if content.predicted:
        return f"predicted {content.predicted.get('date')}, not measured on hardware"
    return f"measured {content.measured.get('date', 'at an unknown time')}"


def _lines(path: Path, content: GatesFile, every: bool) -> Iterator[str]:
    """One file, for a person."""
    found = list(listed(path.name, content))
    tight, loose = sum(g.tight for g in found), sum(g.loose for g in found)
    yield (
        f"{path.name}: {len(found)} gates, {tight} without headroom, {loose} that no planted "
        f"fault reaches; {_when(content)}"
    )
    shown = [gate for gate in found if every or gate.remark]
    if shown:
        yield (f"  {'scope':10} {'role':16} {'figure':6} {'gate':>8} {'port':>8} {'used':>5} "
               f"{'faults to':>9}")  # fmt: skip
    for gate in shown:
        yield (
            f"  {gate.scope:10} {gate.role:16} {gate.figure:6} {gate.gate:8.3g} "
            f"{gate.seen.largest:8.3g} {gate.seen.largest / gate.gate:5.0%} "
            f"{gate.seen.fault_largest:9.3g}  {gate.remark}"
        )
    for name, margin in uncaught(content).items():
        yield (
            f"  TOO LOOSE: {name} at {margin.point} reaches {margin.ratio:.3g} in "
            f"{margin.figure}, the gate is "
            f"{content.gates[margin.scope][margin.role][margin.figure]:.3g}"
        )
