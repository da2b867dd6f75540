"""Gates for a device that nobody has measured: the CPU's, widened by what a model of it shows.

A model (``python -m parity numerics``) and the port as it is run on the same few cases. Where the
model's largest ratio of a role, scope and figure is larger, the CPU's largest one over all of its
seeds is taken times as much, and the gate follows from that by the rule that the CPU's follow from
(`parity.calibrate_rule.propose`). A gate is never tighter than the CPU's: a model leaves out what
nobody documents. The file says in a table of its own, and in every report, that it was predicted;
`python -m parity calibrate --device` on the hardware replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Annotated, Any

import typer

from parity.calibrate_measure import measure, open_session
from parity.calibrate_rule import LEAST, propose
from parity.calibration_data import Record, samples
from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.files import file_hash, temporary_beside
from parity.core.gates_file import (
    Distribution,
    GatesFile,
    Margin,
    gates_path,
    gates_text,
    read_gates_file,
)
from parity.core.numerics import PRECISIONS
from parity.core.tolerance import HOME
from parity.numerics_models import find
from parity.options import Bundles, Cases, GatesFolder
from parity.provenance import version
from parity.settings import Settings, default_bundles

DEVICE = "Ascend"
MODEL = "ascend-910b"
CASES = ("single-image", "left-padded-batch")
"""Two images' worth of patches, padding, and both towers: a minute a dtype."""
Key = tuple[str, str, str]
"""Scope, role, figure."""


def predict_gates(
    case: Cases = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            help=f"Dtype to predict, of {', '.join(PRECISIONS)}; repeat for several.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Numerics model of a whole chip (see `numerics`).", metavar="MODEL")
    ] = MODEL,
    bundles: Bundles = None,
    gates: GatesFolder = Settings.gates,
) -> None:
    """Predict the gates of Ascend from a model of it; nothing is measured on hardware.

    Writes `Ascend-DTYPE.toml`, each marked as predicted. A file that was measured is left alone.
    Needs the CPU's gates, and captured references of the cases (or PyTorch to capture them).
    """
    if not find(model).chip:
        raise ParityError(f"the numerics model {model!r} is not that of a whole chip")
    settings = replace(
        Settings(), cases=tuple(case or CASES), dtypes=tuple(dtype or PRECISIONS),
        bundles=bundles or default_bundles(), gates=gates,
    )  # fmt: skip
    for name in settings.dtypes:
        path = gates_path(gates, DEVICE, name)
        if path.is_file() and read_gates_file(path).measured:
            typer.echo(f"{path.name} was measured: left as it is")
            continue
        content = predicted(settings, name, model)
        with temporary_beside(path) as temporary:
            temporary.write_text(gates_text(content), encoding="utf-8")
        typer.echo("\n".join(_told(path.name, content, name, settings)))


def predicted(settings: Settings, dtype: str, model: str) -> GatesFile:
    """The gates of ``dtype`` on the device that ``model`` imitates.

    Raises:
        ParityError: the CPU has no gates, or a run cannot be made.
    """
    path = gates_path(settings.gates, HOME, dtype)
    known = read_gates_file(path)
    acts = dtype in find(model).dtypes
    pairs = list(_both(settings, dtype, model)) if acts else []
    wider = _wider([one for one, _ in pairs], [other for _, other in pairs])
    about: dict[str, Any] = {
        "date": date.today().isoformat(),
        "dtype": dtype,
        "device": DEVICE,
        "model": model if acts else f"{model}, which changes nothing in {dtype}",
        "cases": list(settings.cases) if acts else [],
        "from": f"{path.name} {file_hash(path)[:16]}",
        "versions": {name: version(name) or "none" for name in ("mindspore", "numpy")},
    }
    return widened(replace(known, measured={}, predicted=about), wider)


def widened(content: GatesFile, wider: Mapping[Key, float]) -> GatesFile:
    """``content`` with each faithful ratio in ``wider`` that many times as large.

    Args:
        content: gates that were measured.
        wider: factors of 1 or more.
    """
    gates: dict[str, dict[str, dict[str, float]]] = {}
    seen: dict[str, dict[str, dict[str, Distribution]]] = {}
    for scope, roles in content.distributions.items():
        for role, figures in roles.items():
            for figure, found in figures.items():
                key = (scope, role, figure)
                now = _times(found, wider.get(key, 1.0))
                gate = content.gates[scope][role][figure]
                if now.largest > found.largest:
                    gate = max(gate, propose(now.largest, _to_catch(content, key, now.largest)))
                gates.setdefault(scope, {}).setdefault(role, {})[figure] = gate
                seen.setdefault(scope, {}).setdefault(role, {})[figure] = now
    margins = {name: _again(margin, gates, seen) for name, margin in content.faults.items()}
    return replace(content, gates=gates, distributions=seen, faults=margins)


def _times(found: Distribution, factor: float) -> Distribution:
    """Every quantile that many times as large."""
    names = ("q50", "q90", "q99", "largest")
    return replace(found, **{name: getattr(found, name) * factor for name in names})


def _to_catch(content: GatesFile, key: Key, faithful: float) -> float:
    """The smallest ratio of a fault that this figure is to catch; infinite if there is none."""
    ratios = [one.ratio for one in content.faults.values()
              if one.seen and (one.scope, one.role, one.figure) == key]  # fmt: skip
    return min((ratio for ratio in ratios if ratio > LEAST * faithful), default=float("inf"))


def _again(
    margin: Margin,
    gates: Mapping[str, Mapping[str, Mapping[str, float]]],
    seen: Mapping[str, Mapping[str, Mapping[str, Distribution]]],
) -> Margin:
    """A fault's stand to the new gates, if it has the same ratio on the device."""
    gate = gates[margin.scope][margin.role][margin.figure]
    faithful = seen[margin.scope][margin.role][margin.figure].largest
    caught = margin.seen and margin.ratio > gate
    why = margin.why or f"the device's own rounding is predicted to reach {faithful:.3g}"
    return replace(margin, gate=gate, faithful=faithful, seen=caught, why="" if caught else why)


def _both(settings: Settings, dtype: str, model: str) -> Iterator[tuple[Record, Record]]:
    """Each case measured as it is and under the model."""
    plain = open_session(settings)
    imitating = open_session(replace(settings, numerics=model))
    plain.validate(judging=False)
    plain.references.capture([(case, dtype) for case in plain.cases])
    with _progress(len(plain.cases) * 2, dtype) as step:
        for case in plain.cases:
            records = []
            for session in (plain, imitating):
                records.append(_measured(session, case, dtype))
                step()
            yield records[0], records[1]


def _measured(session: Any, case: Case, dtype: str) -> Record:
    """One run; it has to be right in everything that no ratio measures.

    Raises:
        ParityError: it is not, or cannot be made.
    """
    record = measure(session, case, dtype, seed=0, weights="trained")
    if record.wrong:
        raise ParityError(f"{case.name}, {dtype}: {record.wrong[0]}; gates cannot be predicted")
    return record


def _wider(plain: Sequence[Record], imitating: Sequence[Record]) -> dict[Key, float]:
    """How many times as large the model's largest ratio is, where it is larger."""
    before, after = _largest(plain), _largest(imitating)
    return {key: after[key] / before[key] for key in after
            if before.get(key, 0.0) > 0.0 and after[key] > before[key]}  # fmt: skip


def _largest(records: Sequence[Record]) -> dict[Key, float]:
    """The largest ratio of each role, scope and figure."""
    found: dict[Key, float] = {}
    for scope, role, figure, ratio, _ in samples(records):
        key = (scope, role, figure)
        found[key] = max(ratio, found.get(key, 0.0))
    return found


def _told(name: str, content: GatesFile, dtype: str, settings: Settings) -> Iterator[str]:
    """What became of the gates, for a person."""
    before = read_gates_file(gates_path(settings.gates, HOME, dtype))
    wider = [
        f"  {scope} {role} {figure}: {before.gates[scope][role][figure]:g} to {gate:g}"
        for scope, roles in content.gates.items()
        for role, figures in roles.items()
        for figure, gate in figures.items()
        if gate > before.gates[scope][role][figure]
    ]
    lost = [fault for fault, one in content.faults.items()
            if not one.seen and before.faults[fault].seen]  # fmt: skip
    yield f"{name}: {len(wider)} gates are wider than the CPU's"
    yield from wider
    yield from (f"  no longer caught: {fault}" for fault in lost)


@contextmanager
def _progress(total: int, dtype: str) -> Iterator[Any]:
    """A bar, and what advances it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"measuring {dtype}", total=total)
        yield lambda: bar.advance(task)
