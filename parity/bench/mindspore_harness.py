"""The candidate's side: ``python -m parity.bench.mindspore_harness SIZE CHECKPOINT BUNDLE ROUNDS``.

Prints the seconds of every round as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from parity.adapters.mindspore_candidate import MODEL_INPUTS, MindSporeCandidate
from parity.bench.harness_sizes import SIZES, Size, declared, in_turn, prompt
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import STAGES
from parity.core.store import Bundle
from parity.core.trace import Trace


def measure(size: Size, checkpoint: Path, bundle: Path, rounds: int) -> dict[str, list[float]]:
    """Time the forward pass bare, and both of the harness's runs at both levels."""
    candidate = MindSporeCandidate(checkpoint, precision("fp32"), "CPU")
    record = Bundle.open(bundle)
    record.check()  # reading it is measured elsewhere
    inputs = {name: array for name, array in prompt(size).items() if name in MODEL_INPUTS}

    def bare() -> None:
        candidate.model(**inputs).logits.asnumpy()

    def free(level: str) -> None:
        finished(candidate.free(inputs, [[]], declared(checkpoint, level), STAGES))

    def forced(level: str) -> None:
        finished(candidate.forced(record, declared(checkpoint, level), STAGES))

    contestants: dict[str, Callable[[], object]] = {"bare": bare}
    for level in ("block", "module"):
        contestants |= {f"free {level}": partial(free, level)}
        contestants |= {f"forced {level}": partial(forced, level)}
    return in_turn(contestants, rounds)


def finished(trace: Trace) -> None:
    """Refuse a run that ended early.

    Raises:
        ParityError: it did, so its time says nothing.
    """
    if trace.stopped:
        raise ParityError(f"the run stopped with {trace.stopped}, so its time is not shown")


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for."""
    name, checkpoint, bundle, rounds = arguments
    print(json.dumps(measure(SIZES[name], Path(checkpoint), Path(bundle), int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
