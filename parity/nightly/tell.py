"""What the night has to say, as Markdown: the job's summary, and the text of the issue.

Nothing but the standard library is needed, so that the job which may write issues installs nothing.
What is in an outcome was written on another machine, and a point or a case may be called anything:
every text stands as code, in which GitHub looks for no names, addresses and markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from parity.nightly.cells import SIZES
from parity.nightly.machine_error import KNOWN, OF_EITHER
from parity.nightly.outcome import BROKEN, COULD_NOT_RUN, PARITY, WORDS, Outcome, overall
from parity.report.markup import code, fenced
from parity.report.text import clean, plural

MARKS = {PARITY: "✅", BROKEN: "❌", COULD_NOT_RUN: "⚠️"}
TITLE_LIMIT = 200
"""Characters; GitHub takes 256."""
_BLOCK = 6000
"""Characters of a block; GitHub takes 65,536 in all."""


def title(outcomes: Sequence[Outcome]) -> str:
    """The night in one line, without markup: GitHub shows titles as they are."""
    status = overall(outcomes)
    found = [one for one in outcomes if one.status == status]
    if status == PARITY:
        return f"nightly: parity, {plural(len(found), 'run')}"
    if status == COULD_NOT_RUN:
        names = sorted({one.trouble for one in found}) or ["no run"]
        return clean(f"nightly: could not run ({', '.join(names)})", TITLE_LIMIT)
    first = first_broken(outcomes)
    what = f"{first.guilty.verdict} {first.guilty.point}" if first.guilty else "the trend got worse"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return clean(f"nightly: parity broken, {what} in {first.cell.name}{more}", TITLE_LIMIT)


def first_broken(outcomes: Sequence[Outcome]) -> Outcome:
    """The run to look at first: one with a point at fault, before one whose trend got worse."""
    broken = [one for one in outcomes if one.status == BROKEN]
    return next((one for one in broken if one.guilty is not None), broken[0])


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for every run, those that are not parity first."""
    order = {BROKEN: 0, COULD_NOT_RUN: 1, PARITY: 2}
    lines = ["| run | | what came out | minutes |", "| --- | --- | --- | --- |"]
    for one in sorted(outcomes, key=lambda one: order[one.status]):
        lines.append(
            f"| {code(one.cell.name)} | {MARKS[one.status]} {WORDS[one.status]} | "
            f"{code(one.sentence, 300)} | {one.seconds / 60:.1f} |"
        )
    return f"## {code(title(outcomes), TITLE_LIMIT)}\n\n" + "\n".join(lines) + "\n"


def issue(outcomes: Sequence[Outcome], link: str | None = None) -> str:
    """The issue's text: what to look at first, how to see it again, and where the rest is.

    Args:
        outcomes: Of every run of the night.
        link: Address of the job's page, where the reports are; it is ours, and not escaped.
    """
    parts = [summary(outcomes)]
    status = overall(outcomes)
    if status == BROKEN:
        parts += _broken(first_broken(outcomes))
    if status == COULD_NOT_RUN:
        parts += _troubles(outcomes)
    if link is not None:
        parts.append(f"Reports, rows, logs and histories of every run: [the job]({link}).")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _broken(first: Outcome) -> list[str]:
    """The run to look at first."""
    parts = [f"### First: {code(first.cell.name)}"]
    if first.guilty is not None:
        parts.append(fenced(_lines(first.guilty.message)))
        parts += ["See it again:", fenced(clean(first.guilty.again, 2000))]
    if first.trend:
        parts += ["Against the nights before:", fenced(_lines(first.trend))]
    size = SIZES.get(first.cell.size)
    facts = {"commit": first.commit, "device": first.device,
             "size": size.about if size else first.cell.size}  # fmt: skip
    parts.append("\n".join(f"- {name}: {code(text, 500)}" for name, text in facts.items() if text))
    return parts


def _troubles(outcomes: Sequence[Outcome]) -> list[str]:
    """What each trouble means, and what it does not say about the port."""
    names = sorted({one.trouble for one in outcomes if one.trouble})
    whose = (
        "whether the code or the machine is to blame, its log says"
        if OF_EITHER.intersection(names)
        else "this is about the machine, not about the code"
    )
    known = "\n".join(f"- {code(name)}: {KNOWN[name]}" for name in names)
    return [f"The port was not judged: {whose}.", *([known] if known else [])]


def _lines(text: str) -> str:
    """Several lines, each made safe to show."""
    return "\n".join(_line(line) for line in text.splitlines())[:_BLOCK]


def _line(line: str) -> str:
    """One line, indented as it is."""
    words = line.lstrip(" ")
    return " " * min(len(line) - len(words), 20) + (clean(words, 400) if words else "")
