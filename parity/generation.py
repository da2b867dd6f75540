"""The command ``python -m parity generation``, and the process it starts for the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.core.numerics import PRECISIONS
from parity.generation_check import COUNT, DTYPES, GenerationCheck, capture_generations
from parity.generation_table import summary_lines
from parity.options import Bundles, Cases, CasesFile, Checkpoint, run_alone
from parity.settings import Settings, default_bundles


def _settings(
    case: list[str] | None, dtype: list[str] | None, bundles: Path | None, **rest: Any
) -> Settings:
    return replace(
        Settings(),
        cases=tuple(case or ()),
        dtypes=tuple(dtype or DTYPES),
        bundles=bundles or default_bundles(),
        **rest,
    )


Dtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        help=f"Dtype to run, of {', '.join(PRECISIONS)}; repeat for several.",
        show_default=", ".join(DTYPES),
        metavar="NAME",
    ),
]
Count = Annotated[int, typer.Option(help="Tokens to generate.", metavar="NUMBER")]


def generation(
    case: Cases = None,
    dtype: Dtypes = None,
    count: Count = COUNT,
    mode: Annotated[
        str,
        typer.Option(help="How the candidate executes: pynative, or graph: compiled blocks."),
    ] = Settings().mode,
    device: Annotated[
        str, typer.Option(help="Device of the candidate, such as CPU or Ascend:0.", metavar="NAME")
    ] = Settings.device,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    plant: Annotated[
        str | None,
        typer.Option(help="Plant a fault (see `faults`), to see it found.", metavar="FAULT"),
    ] = None,
) -> None:
    """Compare greedy generation token by token, end-of-text tokens included.

    In fp32 every token has to be the reference's. In a narrower dtype it has to be wherever the
    reference's top-2 logit margin exceeds twice its own error at that step; elsewhere it has to be
    one of the tokens within that distance, and what follows is judged on the reference's tokens.

    Exit status 1 if a token is wrong.
    """
    chosen = _settings(
        case, dtype, bundles, modes=(mode,), device=device, checkpoint=checkpoint,
        cases_file=cases_file, plant=plant,
    )  # fmt: skip
    check = GenerationCheck(chosen, count, say=lambda line: typer.echo(line, err=True))
    check.validate()
    pairs = [(one, name) for one in check.session.cases for name in chosen.dtypes]
    check.capture(pairs)
    results = []
    for name in chosen.dtypes:
        for one in check.session.cases:
            results.append(check.run(one, name))
            outcomes = ", ".join(row.outcome.value for row in results[-1].rows)
            check.say(f"{len(results)}/{len(pairs)} {one.name} {name}: {outcomes}")
    typer.echo("\n".join(summary_lines(results)))
    raise typer.Exit(0 if results and all(result.passed for result in results) else 1)


def _capture(
    case: Cases = None,
    dtype: Dtypes = None,
    count: Count = COUNT,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
) -> None:
    """Generate with the reference and keep what it says."""
    chosen = _settings(case, dtype, bundles, checkpoint=checkpoint, cases_file=cases_file)
    capture_generations(chosen, count)


if __name__ == "__main__":
    run_alone(_capture)
