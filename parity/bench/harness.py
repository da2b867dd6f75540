"""What the harness itself costs: ``python -m parity.bench.harness``, or ``make bench-harness``.

Every figure is a ratio within one round: the same forward passes with the harness and without.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from parity.bench.checkpoints import folder_of
from parity.bench.facts import counted, machine
from parity.bench.harness_sizes import SIZES, in_turn
from parity.bench.ratios import Spread, met, round_ratios
from parity.core.errors import ParityError
from parity.options import run_alone

ROUNDS = 5
BLOCK, MODULE, LOOP = 1.15, 1.5, 1.5
"""Goals: the largest ratio of block points, of module points, and of the porting loop."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    against: str
    seconds: list[float]
    baseline: list[float]
    goal: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """What it is, the baseline's time, the ratio's median and range, and the goal."""
        ratio = Spread.of(round_ratios(self.seconds, self.baseline))
        goal = "-"
        if self.goal is not None:
            goal = f"{self.goal:g} or less, {'met' if met(ratio, self.goal) else 'not met'}"
        spread = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        return self.what, self.against, f"{Spread.of(self.baseline).median:.3g} s", spread, goal


def main(
    rounds: Annotated[int, typer.Option(help="Rounds.", min=1, metavar="NUMBER")] = ROUNDS,
    quick: Annotated[
        bool, typer.Option("--quick", help="A toy model and one case: to see that it works.")
    ] = False,
) -> None:
    """Measure the harness beside the bare forward passes, and print a Markdown table.

    Both sides' recorded and forced runs at a middle size, the porting loop against a bare script,
    cold against warm, two workers against one process, and bundles against plain safetensors.
    Contestants take turns. Close other programs first: the range shows how steady the machine was.

    Exit status: **0** measured, whether goals are met or not, **2** could not be measured.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="parity-bench-") as scratch,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("starting", total=None)
        lines: list[Line] = []
        for title, part in parts("toy" if quick else "middle", Path(scratch), rounds):
            progress.update(task, description=title)
            lines += part()
    typer.echo(table(lines))
    typer.echo(f"\n{counted(rounds, 'round')}, {machine()}")


def parts(name: str, scratch: Path, rounds: int) -> list[tuple[str, Callable[[], list[Line]]]]:
    """What is measured, in order; the candidate needs the reference's bundle."""
    size, bundle = SIZES[name], scratch / "bundle"
    checkpoint = folder_of(size.checkpoint, scratch)
    cases = ("--case", "single-image") if name == "toy" else ()
    arguments = (name, str(checkpoint), str(bundle), str(rounds))
    return [
        ("reference, recorded", partial(reference_lines, arguments)),
        ("candidate, recorded and forced", partial(candidate_lines, arguments)),
        ("the porting loop", partial(loop_lines, cases, scratch, rounds)),
        ("cold and warm", partial(cold_lines, scratch, rounds)),
        ("bundles", partial(bundle_lines, bundle, scratch, rounds)),
    ]


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    head = ("what", "against", "baseline", "times the baseline", "goal")
    rows = [head, ("---",) * len(head), *(line.cells for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def reference_lines(arguments: Sequence[str]) -> list[Line]:
    """PyTorch under the recording hooks, and a whole capture with its float64 truths."""
    taken = worker("torch_harness", arguments)
    bare = taken["bare"]
    return [
        Line("PyTorch, block points recorded", "bare forward", taken["block"], bare, BLOCK),
        Line("PyTorch, module points recorded", "bare forward", taken["module"], bare, MODULE),
        Line("whole capture, truths and proofs", "bare forward", taken["capture"], bare),
    ]


def candidate_lines(arguments: Sequence[str]) -> list[Line]:
    """MindSpore in the free and in the forced run."""
    taken = worker("mindspore_harness", arguments)
    goals = {"block": BLOCK, "module": MODULE}
    return [
        Line(f"MindSpore, {level} points, {run} run", "bare forward", taken[f"{run} {level}"],
             taken["bare"], goal)
        for level, goal in goals.items()
        for run in ("free", "forced")
    ]  # fmt: skip


def loop_lines(cases: Sequence[str], scratch: Path, rounds: int) -> list[Line]:
    """Warm ``pytest parity/ -k vision`` against a bare script, and with two workers."""
    loop = ("-m", "pytest", "parity/", "-q", "-k", "vision", *cases,
            "--report", str(scratch / "report"))  # fmt: skip
    taken = in_turn(
        {
            "bare": partial(run, "-m", "parity.bench.mindspore_bare", *cases[1:]),
            "pytest": partial(run, *loop),
            "workers": partial(run, *loop, "-n", "2"),
        },
        rounds,
    )
    return [
        Line("pytest parity/ -k vision, warm", "bare script", taken["pytest"], taken["bare"], LOOP),
        Line("the same with -n 2", "-n 0", taken["workers"], taken["pytest"]),
    ]


def cold_lines(scratch: Path, rounds: int) -> list[Line]:
    """A run that has to capture the reference first, against one that finds it."""
    command = ("-m", "parity", "run", "--case", "single-image", "--report", str(scratch / "report"))

    def cold() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as empty:
            run(*command, "--bundles", empty)

    taken = in_turn({"warm": partial(run, *command), "cold": cold}, rounds)
    return [Line("run of one case, cold", "warm", taken["cold"], taken["warm"])]


def bundle_lines(folder: Path, scratch: Path, rounds: int) -> list[Line]:
    """Writing and reading a bundle against the same tensors in a plain file."""
    from safetensors.numpy import load_file, save_file

    from parity.core.store import TENSORS, Bundle, BundleWriter

    tensors = load_file(folder / TENSORS)
    plain = scratch / "plain.safetensors"

    def write() -> None:
        writer = BundleWriter({})
        for array in tensors.values():
            writer.add(array)
        writer.write(scratch / "written")

    contestants: dict[str, Callable[[], object]] = {
        "save": partial(save_file, tensors, plain),
        "write": write,
        "load": partial(load_file, plain),
        "read": lambda: Bundle.open(folder).check(),
    }
    taken = in_turn(contestants, rounds)
    return [
        Line("writing a bundle, with hashes", "safetensors", taken["write"], taken["save"]),
        Line("reading a bundle, hashes checked", "safetensors", taken["read"], taken["load"]),
    ]


def worker(module: str, arguments: Sequence[str]) -> dict[str, list[float]]:
    """Seconds by contestant and round, measured by a process of its own."""
    taken: dict[str, list[float]] = json.loads(
        run("-m", f"parity.bench.{module}", *arguments).splitlines()[-1]
    )
    return taken


def run(*arguments: str) -> str:
    """The output of a Python process.

    Raises:
        ParityError: it failed; the message has its last lines.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ParityError(f"`python {' '.join(arguments)}` failed: " + " / ".join(told[-4:]))
    return done.stdout


if __name__ == "__main__":
    run_alone(main)
