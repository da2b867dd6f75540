"""The reference's side: ``python -m parity.bench.torch_harness SIZE CHECKPOINT BUNDLE ROUNDS``.

Prints the seconds of every round as JSON, and leaves a bundle for the candidate's side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from parity.adapters.torch_execution import run_reference
from parity.adapters.torch_recording import Recorder, hooked
from parity.adapters.torch_reference import TorchReference
from parity.bench.harness_sizes import SIZES, Size, declared, in_turn, prompt
from parity.core.numerics import precision
from parity.core.store import BundleWriter


def measure(size: Size, checkpoint: Path, bundle: Path, rounds: int) -> dict[str, list[float]]:
    """Time the forward pass bare and recorded, and the whole capture; write the bundle."""
    reference = TorchReference(checkpoint, precision("fp32"))
    inputs = prompt(size)
    points = declared(checkpoint, "module")
    writer = BundleWriter({"bench": size.checkpoint})
    reference.record([inputs], points, writer)
    writer.write(bundle)

    def bare() -> None:
        run_reference(reference.model, inputs, 0)

    def recorded(level: str) -> None:
        recorder = Recorder(declared(checkpoint, level), BundleWriter({}))
        with hooked(reference.model, recorder):
            bare()

    def captured() -> None:
        reference.record([inputs], points, BundleWriter({}))

    contestants: dict[str, Callable[[], object]] = {
        "bare": bare,
        "block": partial(recorded, "block"),
        "module": partial(recorded, "module"),
        "capture": captured,
    }
    with torch.no_grad():
        return in_turn(contestants, rounds)


if __name__ == "__main__":
    name, checkpoint, bundle, rounds = sys.argv[1:]
    print(json.dumps(measure(SIZES[name], Path(checkpoint), Path(bundle), int(rounds))))
