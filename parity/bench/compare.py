"""The cost of comparing two tensors: ``python -m parity.bench.compare``.

What :func:`parity.core.stats.compare` finds in one pass is found by `plain.py` in plain NumPy, and
an array of as many bytes is copied, round after round. Ratios are taken within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from parity.bench.facts import counted, machine
from parity.bench.plain import Tensors, statistics
from parity.bench.ratios import Spread
from parity.core.errors import ParityError
from parity.core.numerics import FORMATS, Format
from parity.core.stats import Gate, Truth, compare
from parity.options import run_alone

SIZES = ((1600, 1280), (14308, 1280), (1024, 8960))
"""Tokens and channels: an image in the vision tower, a large one, and a wide MLP in the text."""
QUICK_SIZES = ((160, 1280), (40, 8960))
TIMES_PLAIN, SHARE_OF_COPY = 4.0, 0.15
"""The goals: at least so many times as fast as plain NumPy, and so much of a copy's bandwidth."""
ROUNDS = 5
GATE = Gate(10, 20, 20, 10)


@dataclass(frozen=True)
class Measured:
    """Seconds of every round for one pair of tensors."""

    title: str
    bytes: int
    """Read by a comparison: candidate, reference and residual; read or written by the copy."""
    ours: list[float]
    plain: list[float]
    copy: list[float]

    @property
    def times_plain(self) -> Spread:
        """How many times as fast as plain NumPy, by round."""
        return Spread.of([one / other for one, other in zip(self.plain, self.ours, strict=True)])

    @property
    def share_of_copy(self) -> Spread:
        """Bandwidth as a share of a copy's, by round."""
        return Spread.of([one / other for one, other in zip(self.copy, self.ours, strict=True)])

    def bandwidth(self, seconds: list[float]) -> float:
        """GB/s, of the median round."""
        return self.bytes / Spread.of(seconds).median / 1e9


def main(
    rounds: Annotated[int, typer.Option(help="Rounds.", min=1, metavar="NUMBER")] = ROUNDS,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, which fit a cache: say nothing.")
    ] = False,
) -> None:
    """Measure the comparison of two tensors against plain NumPy and against copying memory.

    All three use one thread, and are timed by the processor's time that they take. A comparison
    reads three arrays: candidate, reference and what the truth differs from it, float32 in memory
    whatever the dtype. Its GB/s are of these. A copy's GB/s count each byte twice, read and
    written. The comparison and plain NumPy must find the same.

    The goals stand beside the ratios, met or not met; the exit status does not depend on them.
    Exit status: **0** measured, **2** could not be measured. Close other programs first.
    """
    sizes = QUICK_SIZES if quick else SIZES
    facts = f"{counted(rounds, 'round')}, 1 thread, numpy {np.__version__}, {machine()}"
    jobs = [(size, dtype) for size in sizes for dtype in FORMATS.values()]
    _show([measure(size, dtype, rounds) for size, dtype in _with_progress(jobs)])
    typer.echo(facts)


def measure(size: tuple[int, int], dtype: Format, rounds: int) -> Measured:
    """Time all three in turn.

    Raises:
        ParityError: the comparison and plain NumPy do not find the same.
    """
    tensors = sample(size, dtype)
    truth = Truth(tensors.reference, tensors.residual)
    moved = tensors.candidate.nbytes + tensors.reference.nbytes + tensors.residual.nbytes
    source = np.ones(moved // 2, np.uint8)
    target = np.zeros_like(source)
    _check(compare(tensors.candidate, truth, dtype, GATE).whole.ratio,
           statistics(tensors, dtype)["whole.ratio"])  # fmt: skip
    found = Measured(f"{size[0]} x {size[1]} {dtype.name}", moved, [], [], [])
    for _ in range(rounds):
        found.copy.append(seconds(lambda: np.copyto(target, source)))
        found.ours.append(seconds(lambda: compare(tensors.candidate, truth, dtype, GATE)))
        found.plain.append(seconds(lambda: statistics(tensors, dtype)))
    return found


def sample(size: tuple[int, int], dtype: Format) -> Tensors:
    """A random truth, a reference that rounds it, and a candidate that errs three times as much."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(size)
    noise = 3 * dtype.noise * rng.standard_normal(size)
    reference, candidate = _rounded(truth, dtype), _rounded(truth * (1 + noise), dtype)
    return Tensors(candidate, reference, (truth - reference).astype(np.float32))


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one call, which other programs leave as it is, but for the caches."""
    start = time.process_time()
    run()
    return time.process_time() - start


def _rounded(values: NDArray[np.float64], dtype: Format) -> NDArray[np.float32]:
    """Numbers of ``dtype`` near ``values``, as float32; bits that bfloat16 lacks are cut off."""
    narrow = values.astype(np.float32)
    if dtype.name == "bfloat16":
        return (narrow.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return narrow.astype(np.float16).astype(np.float32) if dtype.name == "float16" else narrow


def _check(ours: float, plain: float) -> None:
    if not abs(ours - plain) <= 1e-9 * plain:
        raise ParityError(f"the one pass finds a ratio of {ours!r} and plain NumPy one of {plain!r}"
                          "; run the tests of parity/core/stats.py")  # fmt: skip


def _with_progress(
    jobs: list[tuple[tuple[int, int], Format]],
) -> Iterator[tuple[tuple[int, int], Format]]:
    """The jobs, with a bar on standard error."""
    from rich.console import Console
    from rich.progress import track

    yield from track(jobs, "measuring", console=Console(stderr=True), transient=True)


def _show(results: list[Measured]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for head in ("tensors", "one pass", "plain NumPy", "copy", "times plain", "share of copy"):
        table.add_column(head, justify="left" if head == "tensors" else "right")
    for found in results:
        speeds = (f"{found.bandwidth(s):.2f} GB/s" for s in (found.ours, found.plain, found.copy))
        table.add_row(
            found.title, *speeds,
            _cell(found.times_plain, TIMES_PLAIN, 1, ""),
            _cell(found.share_of_copy, SHARE_OF_COPY, 100, " %"),
        )  # fmt: skip
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(table)
    typer.echo(f"goals: at least {TIMES_PLAIN:g} times plain NumPy and {SHARE_OF_COPY:.0%} of copy")


def _cell(spread: Spread, goal: float, scale: float, unit: str) -> str:
    """Median and range, and whether the median reaches the goal."""
    low, median, high = (scale * value for value in (spread.low, spread.median, spread.high))
    met = "met" if spread.median >= goal else "not met"
    return f"{median:.1f}{unit} ({low:.1f} to {high:.1f}) {met}"


if __name__ == "__main__":
    run_alone(main)
