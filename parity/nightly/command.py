"""The commands ``python -m parity nightly run | bundle``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.core.errors import ParityError
from parity.nightly.asked import RUN_SECONDS
from parity.nightly.cells import DTYPES, MODES, SIZES, cells
from parity.settings import CANDIDATES, Settings

if TYPE_CHECKING:
    from parity.nightly.outcome import Outcome

OUTPUT = Path("reports/nightly")
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help=(
        "The nightly job: every dtype, execution mode and size, each checked, run, held against "
        "its own history and reported.\n\nOn a machine with PyTorch: `python -m parity nightly "
        "bundle -o bundles`. On the machine with the NPU: `python -m parity nightly run --bundles "
        "bundles --device Ascend:0`."
    ),
)


def _names(what: str, known: tuple[str, ...]) -> typer.models.OptionInfo:
    """An option that chooses some of the known names."""
    info: typer.models.OptionInfo = typer.Option(
        help=f"{what} to run, of {', '.join(known)}; repeat for several.",
        show_default="all",
        metavar="NAME",
    )
    return info


@app.command()
def run(
    dtype: Annotated[list[str] | None, _names("Dtype", DTYPES)] = None,
    mode: Annotated[list[str] | None, _names("Execution mode", MODES)] = None,
    size: Annotated[list[str] | None, _names("Size", tuple(SIZES))] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Case to run; repeat for several.", show_default="those of the size"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device of the candidate, such as CPU or Ascend:0.", metavar="NAME")
    ] = Settings.device,
    bundles: Annotated[
        Path | None,
        typer.Option(
            help="Folder with what `nightly bundle` made.",
            show_default="capture the reference here, which needs PyTorch",
            metavar="FOLDER",
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Folder of the history, a database for each run of a night; or the URL of one "
            "database for all.",
            show_default="history, in the output folder",
            metavar="FOLDER|URL",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where everything goes.", metavar="FOLDER")
    ] = OUTPUT,
    candidate: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(CANDIDATES)}, or your own as package.module:class.", metavar="NAME"
        ),
    ] = Settings.candidate,
    plant: Annotated[
        str | None,
        typer.Option(help="Plant a fault, to see a night that fails.", metavar="FAULT"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Time for one run.", min=1, metavar="SECONDS")
    ] = RUN_SECONDS,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Take over what is finished of an interrupted night."),
    ] = False,
) -> None:
    """Run a night, or a part of it: check the machine, compare, gate the trend, gather it all.

    Every run has a folder in the output folder: `report/` (page, rows, JUnit), `trend.html`,
    `run.log`, `trend.log` and `outcome.json`. Beside them are `summary.md` and, if something is
    wrong, `issue.md`. In a job of GitHub's the summary is shown there.

    Exit status: **0** parity, **1** parity broken or the trend got worse, **2** a run could not be
    made: what is missing has a name, and the port was not judged.
    """
    from parity.nightly.asked import Asked
    from parity.nightly.night import night
    from parity.nightly.outcome import overall

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    asked = Asked(
        output, history or str(output / "history"), device=device, bundles=bundles,
        candidate=candidate, plant=plant, cases=tuple(case or ()), seconds=seconds,
        resume=resume,
    )  # fmt: skip
    chosen = cells(_known(dtype, DTYPES), _known(mode, MODES), _known(size, tuple(SIZES)))
    outcomes = []
    for number, cell in enumerate(chosen, 1):
        typer.echo(f"nightly {number}/{len(chosen)}: {cell.name}")
        outcomes.append(night(asked, cell))
        typer.echo(f"nightly {cell.name}: {outcomes[-1].sentence}")
    _tell(outcomes, output)
    raise typer.Exit(overall(outcomes))


def _known(given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names chosen.

    Raises:
        ParityError: one is unknown.
    """
    for name in given or ():
        if name not in known:
            raise ParityError(f"the nightly does not know {name!r}; there are: {', '.join(known)}")
    return tuple(dict.fromkeys(given or known))


def _tell(outcomes: list[Outcome], output: Path) -> None:
    """Write summary and issue, for files and for GitHub; say what cannot be written."""
    from parity.nightly.outcome import PARITY, overall
    from parity.nightly.tell import issue, summary

    text = summary(outcomes)
    typer.echo(text)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "summary.md").write_text(text, encoding="utf-8")
        (output / "issue.md").unlink(missing_ok=True)
        if overall(outcomes) != PARITY:
            (output / "issue.md").write_text(issue(outcomes), encoding="utf-8")
        if shown := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(shown).open("a", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        typer.echo(f"error: cannot write {error.filename}: {error.strerror}", err=True)


@app.command()
def bundle(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the bundles.", metavar="FOLDER")
    ],
    size: Annotated[list[str] | None, _names("Size", tuple(SIZES))] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Case to put in; repeat for several.", show_default="those of the size"),
    ] = None,
    tar: Annotated[bool, typer.Option("--tar", help="Write tar files, and no folders.")] = False,
) -> None:
    """Make the bundles that `nightly run --bundles` takes, one for each size; needs PyTorch.

    The small checkpoint is put in. The wide one is not: it is made from a seed, and the same on
    every machine.
    """
    from parity.nightly.bundles import make_bundle

    for name in _known(size, tuple(SIZES)):
        make_bundle(name, tuple(case or SIZES[name].cases), output, tar)
