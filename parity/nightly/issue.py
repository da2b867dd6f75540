"""One issue for the nightly: opened, brought up to date and closed by what the night says.

    python -m parity.nightly.issue FOLDER [--link ADDRESS] [--body FILE]

FOLDER holds the outcomes of the night's runs, at any depth; a run that left none counts as one that
could not be made. There is at most one open issue, found by its label:

| the night | no issue is open | one is open |
| --- | --- | --- |
| parity | nothing | it gets a comment, and is closed |
| broken | one is opened | its title and text become tonight's; a comment if the title changed |
| could not run | one is opened | about broken parity: a comment; else as above |

So a lost runner never hides the point that broke parity, and closes nothing. It needs the standard
library and GitHub's command line `gh`, nothing else. The exit status is the night's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.core.errors import ParityError
from parity.nightly.cells import Cell, cells
from parity.nightly.outcome import (
    COULD_NOT_RUN,
    FILE,
    PARITY,
    Outcome,
    no_result,
    overall,
    read_outcome,
)
from parity.nightly.tell import TITLE_LIMIT, issue, summary, title
from parity.report.markup import code

LABEL = "nightly"
ABOUT_PARITY = "nightly: parity broken"
"""How the title of an issue begins that is about the port, and not about the machine."""


@dataclass(frozen=True)
class OpenIssue:
    """The issue that is open."""

    number: int
    title: str

    @property
    def about_parity(self) -> bool:
        """Whether it says that parity is broken."""
        return self.title.startswith(ABOUT_PARITY)


def gathered(folder: Path, expected: Sequence[Cell]) -> list[Outcome]:
    """The outcome of every expected run, in their order, from the files below ``folder``.

    Raises:
        ParityError: a file is not one, or there are two of one run.
    """
    found: dict[Cell, Outcome] = {}
    for path in sorted(folder.rglob(FILE)):
        one = read_outcome(path)
        if one.cell in found:
            raise ParityError(f"{path} is a second outcome of {one.cell.name}: name one night")
        found[one.cell] = one
    return [found.get(cell) or no_result(cell) for cell in expected]


def bring_up_to_date(outcomes: Sequence[Outcome], link: str | None) -> str:
    """Make the issue say what the night says; what was done, in a line.

    Raises:
        ParityError: `gh` fails.
    """
    status, there, name = overall(outcomes), open_issue(), title(outcomes)
    if status == PARITY:
        if there is None:
            return "no issue is open, and none is needed"
        comment(there, f"{code(name)}.{f' [The job]({link}).' if link else ''}")
        gh("issue", "close", str(there.number))
        return f"closed issue {there.number}"
    text = issue(outcomes, link)
    if there is None:
        gh("label", "create", LABEL, "--force", "--description", "What the nightly job found")
        with_text(text, "issue", "create", "--title", name, "--label", LABEL)
        return "opened an issue"
    if status == COULD_NOT_RUN and there.about_parity:
        comment(there, text)
        return f"commented on issue {there.number}, which stays about parity"
    if there.title != name:
        comment(there, f"Now: {code(name, TITLE_LIMIT)}.")
    with_text(text, "issue", "edit", str(there.number), "--title", name)
    return f"brought issue {there.number} up to date"


def open_issue() -> OpenIssue | None:
    """The oldest open issue with the label."""
    found = json.loads(gh("issue", "list", "--label", LABEL, "--state", "open", "--limit", "100",
                          "--json", "number,title"))  # fmt: skip
    issues = [OpenIssue(int(one["number"]), str(one["title"])) for one in found]
    return min(issues, key=lambda one: one.number, default=None)


def comment(on: OpenIssue, text: str) -> None:
    """Add a comment."""
    with_text(text, "issue", "comment", str(on.number))


def with_text(text: str, *arguments: str) -> None:
    """Run `gh` with a text, which is handed over in a file: it may be longer than a command."""
    with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        gh(*arguments, "--body-file", file.name)


def gh(*arguments: str) -> str:
    """What `gh` prints.

    Raises:
        ParityError: it fails, or is not installed.
    """
    try:
        done = subprocess.run(["gh", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ParityError(f"cannot run gh, GitHub's command line: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise ParityError(f"gh {arguments[0]} {arguments[1]} failed: {said[-1]}")
    return done.stdout


def main() -> int:
    """Read the night, write its text, and bring the issue up to date."""
    parser = argparse.ArgumentParser(description="Bring the nightly's issue up to date.")
    parser.add_argument("folder", type=Path, help="with the outcomes of the night, at any depth")
    parser.add_argument("--link", help="address of the job's page")
    parser.add_argument("--body", type=Path, help="only write the text to this file")
    chosen = parser.parse_args()
    try:
        outcomes = gathered(chosen.folder, cells())
        print(summary(outcomes))
        if chosen.body is not None:
            chosen.body.write_text(issue(outcomes, chosen.link), encoding="utf-8")
        else:
            print(bring_up_to_date(outcomes, chosen.link), file=sys.stderr)
    except (ParityError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return overall(outcomes)


if __name__ == "__main__":
    sys.exit(main())
