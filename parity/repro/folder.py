"""What is in the folder of one module: its input, weights, reference, truth, limits and a test."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.files import replace_folder
from parity.core.numerics import FORMATS, Precision
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import Bundle, narrow_dtype
from parity.core.tolerance import Gates
from parity.core.trace import Array
from parity.repro.limits import limits
from parity.subjects.modules import call_firings, compute, firing_inputs, read_config
from parity.subjects.ops import Float, wide
from parity.subjects.weights import Weights

FORMAT = 1
ABOUT = "repro.json"
CACHED = ("text_attention", "text_block")
"""Roles whose decoding steps need the calls before them."""
README = """\
{point} of {case} in {dtype}, by itself

The port's module is built alone, given these weights and the exact input that the reference's
module had, and its output is compared with a float64 truth. PyTorch is not needed.

Run, in the port's folder:  python -m pytest {folder}/test_repro.py

The test fails while the module is wrong, and passes once it is mended. If it passes although the
whole run calls the module guilty, the module's own code is right: look at how its weights are
loaded, and at the code that calls it and hands its parts on.
{planted}
test_repro.py          the test
inputs.safetensors     the arguments of {calls}
weights.safetensors    the module's parameters, rounded to the reference's dtype
reference.safetensors  what the reference computed, the float64 truth, the largest passing errors
config.json            the checkpoint's configuration
repro.json             what this is
"""


@dataclass(frozen=True)
class Subject:
    """One firing of a point, and what it is judged with."""

    point: Point
    index: int
    """Which firing, counted from 0."""
    case: Case
    precision: Precision
    bundle: Bundle
    gates: Gates
    checkpoint: Path
    device: str
    plant: str | None
    keep: Any = None
    """Tokens to compare; ``None`` for all."""


def write_folder(subject: Subject, folder: Path) -> None:
    """Write the folder, replacing an earlier one of this kind, all or nothing.

    Raises:
        ParityError: the point is not the output of a module of its own, or the folder holds
            something else or cannot be written.
    """
    check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(subject, staging, folder)
            staging.chmod(0o755)
            replace_folder(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ParityError(f"cannot write {folder}: {error.strerror or error}") from error


def check_replaceable(folder: Path) -> None:
    """Refuse a place that holds anything but an earlier folder of this kind.

    Raises:
        ParityError: it does.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / ABOUT).is_file()):
        raise ParityError(f"{folder} holds something else; name a new folder with -o")


def check_buildable(point: Point) -> None:
    """Refuse a point that no module of its own gives.

    Raises:
        ParityError: it is such a point.
    """
    if point.module is None or point.is_input or point.kind not in (Kind.FLOAT, Kind.TABLE):
        raise ParityError(
            f"{point.name} is not the output of a module that can be built by itself; look at it "
            f"with `python -m parity run --point {point.name}`"
        )


def _fill(subject: Subject, staging: Path, folder: Path) -> None:
    """Write every file of the folder to ``staging``; ``folder`` is where it will be."""
    from safetensors.numpy import save_file

    check_buildable(subject.point)
    calls, inputs = _calls(subject)
    save_file(inputs, staging / "inputs.safetensors")
    save_file(_parameters(subject), staging / "weights.safetensors")
    save_file(_reference(subject), staging / "reference.safetensors")
    about = _about(subject) | {"calls": calls}
    (staging / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    (staging / "README.txt").write_text(_readme(subject, folder, len(calls)), encoding="utf-8")
    shutil.copyfile(subject.checkpoint / "config.json", staging / "config.json")
    check = Path(__file__).with_name("module_check.py")
    shutil.copyfile(check, staging / "test_repro.py")


def _about(subject: Subject) -> dict[str, Any]:
    """What the test has to know, in plain data."""
    point = subject.point
    block = re.search(r"\.(?:blocks|layers)\.(\d+)", point.module or "")
    needed = 1 + int(block[1]) if block else 1
    vision = (point.module or "").startswith("visual.")
    return {
        "format": FORMAT,
        "point": point.name,
        "module": point.module,
        "member": point.member,
        "case": subject.case.name,
        "firing": subject.index,
        "dtype": subject.precision.name,
        "device": subject.device,
        "plant": subject.plant,
        "vision_blocks": needed if vision else 1,
        "text_layers": 1 if vision else needed,
        "cache_length": _cache_length(subject),
        "reference": subject.bundle.provenance.get("reference"),
    }


def _cache_length(subject: Subject) -> int:
    """Tokens that the cache of the run holds: the prompt's, padding included, and the others."""
    every = call_firings(subject.bundle, subject.index)
    call = every.start // len(every) if subject.point.role in CACHED else 0
    ids = subject.bundle.points["processor.input_ids"][call]
    tokens = subject.bundle.tokens[call][0] if subject.bundle.tokens else []
    return int(subject.bundle.tensor(ids.value).shape[1]) + len(tokens)


def _readme(subject: Subject, folder: Path, calls: int) -> str:
    """README.txt."""
    planted = f"\nThe fault {subject.plant!r} is planted while the test runs: with it, it fails.\n"
    number = "one call" if calls == 1 else f"{calls} calls, one for each decoding step so far"
    return README.format(
        point=subject.point.name, case=subject.case.name, dtype=subject.precision.name,
        folder=folder, planted=planted if subject.plant else "", calls=number,
    )  # fmt: skip


def _calls(subject: Subject) -> tuple[list[dict[str, str]], dict[str, Array]]:
    """Arguments with their dtypes, call by call, and their arrays by ``CALL.NAME``."""
    firings = subject.bundle.points[subject.point.name]
    cached = subject.point.role in CACHED
    first = call_firings(subject.bundle, subject.index).start if cached else subject.index
    calls: list[dict[str, str]] = []
    arrays: dict[str, Array] = {}
    for call, firing in enumerate(firings[first : subject.index + 1]):
        named = {}
        for name, stored in firing.inputs.items():
            array = subject.bundle.tensor(stored)
            named[name] = narrow_dtype(stored) or array.dtype.name
            arrays[f"{call}.{name}"] = np.ascontiguousarray(array)
        calls.append(named)
    return calls, arrays


def _parameters(subject: Subject) -> dict[str, Array]:
    """The module's parameters by their names in it, float32."""
    module = subject.point.module or ""
    weights = _weights(subject)
    return {
        name.removeprefix(f"{module}."): value.astype(np.float32)
        for name, value in weights.of(module).items()
    }


def _weights(subject: Subject) -> Weights:
    tied = read_config(subject.checkpoint).tied
    return Weights(subject.checkpoint, subject.precision, tied=tied)


def _reference(subject: Subject) -> dict[str, Array]:
    """The reference's output, the truth, and the limits of the error."""
    point, bundle = subject.point, subject.bundle
    recorded = bundle.points[point.name][subject.index]
    reference = wide(bundle.tensor(recorded.value))
    truth = reference if point.kind is Kind.TABLE else _truth(subject)
    base = wide(bundle.tensor(recorded.inputs[point.forced[0]])) if point.base else None
    keep = subject.keep if point.tokens and subject.index == 0 else None
    allowed = limits(
        truth, reference, subject.gates.at("local", point),
        FORMATS.get(recorded.dtype, subject.precision.format), base=base, keep=keep,
    )  # fmt: skip
    found: dict[str, Array] = {"truth": truth, "reference": reference}
    found |= {f"limit.{name}": limit for name, limit in allowed.items()}
    return found if keep is None else found | {"keep": keep.astype(np.uint8)}


def _truth(subject: Subject) -> Float:
    """The module as a whole in float64."""
    inputs = firing_inputs(subject.bundle, subject.point.name, subject.index)
    config = read_config(subject.checkpoint)
    return compute(subject.point.name, inputs, _weights(subject), config)
