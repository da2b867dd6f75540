"""What the device is, what runs it, and what it can compute in: `python -m parity device`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.device.cann import UNKNOWN, ascend_versions
from parity.device.chips import Chip, chip_of, lacking, resolved
from parity.device.choice import index_of, is_ascend
from parity.device.npu_smi import NpuChip, run_npu_smi
from parity.options import COULD_NOT_RUN
from parity.settings import CANDIDATES, Settings, load_by_name


@dataclass
class Probe:
    """What could be found out about a device."""

    facts: dict[str, str] = field(default_factory=dict)
    """In the order in which they are shown."""
    missing: list[str] = field(default_factory=list)
    """What could not be found out, and why; the device may work all the same."""
    unusable: str | None = None
    """Why it cannot be used."""


def probe(device: str, candidate: str, environment: Mapping[str, str]) -> Probe:
    """Ask everything that knows something of ``device``, and compute something on it.

    Args:
        device: as MindSpore names it: ``CPU``, ``Ascend:0``.
        candidate: whose framework is to use it; one of `CANDIDATES`, or ``module:class``.
        environment: the process's variables.

    Raises:
        ParityError: the device's or the candidate's name is not one.
    """
    found = Probe({"device": device})
    index = index_of(device)
    if is_ascend(device):
        _ask_host(found, index, environment)
    kind = load_by_name(candidate, CANDIDATES, "candidate")
    offer = getattr(kind, "try_device", None)
    if offer is None:
        raise ParityError(
            f"the candidate {candidate!r} cannot say whether {device} works: give its class a "
            "method `try_device(device)` as MindSporeCandidate has it"
        )
    try:
        found.facts |= resolved(offer(device))
    except ParityError as error:
        found.unusable = str(error)
    _say_dtypes(found, chip_of(found.facts.get("soc", "")) or chip_of(found.facts.get("chip", "")))
    return found


def _ask_host(found: Probe, index: int, environment: Mapping[str, str]) -> None:
    """What npu-smi and the installers' files tell."""
    try:
        table = run_npu_smi()
        chip = table.of_device(index, environment)
        if chip is None:
            found.missing.append(f"npu-smi shows {len(table.chips)} chips, and none is device "
                                 f"{index}")  # fmt: skip
        else:
            found.facts |= _told(chip)
        version = table.version
    except ParityError as error:
        found.missing.append(str(error))
        version = ""
    versions = ascend_versions(environment)
    if versions["driver"] == UNKNOWN and version:
        versions["driver"] = version
    found.facts |= versions
    found.missing += [f"the version of {name}: no file tells it"
                      for name, told in versions.items() if told == UNKNOWN]  # fmt: skip


def _told(chip: NpuChip) -> dict[str, str]:
    """A row of npu-smi's table as facts."""
    memory = f"{chip.memory} MB" if chip.memory else UNKNOWN
    return {"chip": chip.name, "health": chip.health, "bus": chip.bus, "memory": memory}


def _say_dtypes(found: Probe, chip: Chip | None) -> None:
    """Which precisions the chip has, and why it has not the others."""
    if chip is None and is_ascend(found.facts["device"]):
        found.facts["dtypes"] = UNKNOWN
        return
    if chip is not None:
        found.facts["family"] = chip.title
    reasons = {name: lacking(chip, name) for name in PRECISIONS}
    found.facts["dtypes"] = ", ".join(name for name, why in reasons.items() if why is None)
    found.missing += [f"{name}: {why}" for name, why in reasons.items() if why is not None]


def lines(found: Probe) -> list[str]:
    """The probe as text."""
    width = max(map(len, found.facts))
    told = [f"{name:{width}}  {value}" for name, value in found.facts.items()]
    return [*told, *(f"{'missing':{width}}  {one}" for one in found.missing)]


def device(
    device: Annotated[
        str, typer.Option(help="The device, such as CPU or Ascend:0.", metavar="NAME")
    ] = Settings.device,
    candidate: Annotated[
        str,
        typer.Option(help=f"{', '.join(CANDIDATES)}, or your own as package.module:class."),
    ] = Settings.candidate,
) -> None:
    """Say what the device is, which software runs it, and whether it computes.

    What is told comes from `npu-smi info`, the files that Huawei's installers leave, and the
    framework, with the precision switches as a run sets them. Exit status **0**: it works; **2**:
    it cannot be used, and why.
    """
    found = probe(device, candidate, os.environ)
    typer.echo("\n".join(lines(found)))
    if found.unusable is not None:
        typer.echo(f"error: {found.unusable}", err=True)
        raise typer.Exit(COULD_NOT_RUN)
