"""The error of a point on the tokens of its prompt: runs of tokens of one level, plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from parity.core.detail import RATIO, TOKENS, Cells
from parity.core.inputs_shown import InputsShown, Prompt
from parity.report.levels import Scale
from parity.report.pictures import levels_of
from parity.report.text import number
from parity.report.token_patterns import Token, describe, within

REPEATED = 4
"""Equal tokens in a row from which they are written as one."""
LONGEST = 400
"""Characters of a run that are shown."""


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens of one level."""

    text: str
    level: int
    title: str
    """``tokens 15 to 30: up to 4.1e3``."""
    special: bool
    """Whether it stands for something that is no text, such as ``<|image_pad|> x 64``."""


@dataclass(frozen=True)
class RowView:
    """One row of the batch."""

    title: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class PromptView:
    """All rows of one firing."""

    sentence: str
    measure: str
    rows: tuple[RowView, ...]
    legend: tuple[tuple[int, str], ...]
    gated: bool


def prompt_view(cells: Cells, shown: InputsShown | None) -> PromptView | None:
    """Draw ``cells`` on the tokens; ``None`` if they are none, or the prompt is not known."""
    levels = levels_of(cells)
    if shown is None or cells.layout != TOKENS or levels is None or cells.rows < 1:
        return None
    prompts = [one for one in shown.prompts if one.call == cells.call]
    length, rest = divmod(len(cells.values), cells.rows)
    if len(prompts) != cells.rows or rest or cells.start < 0:
        return None
    rows = [_tokens(prompt, cells, row, length) for row, prompt in enumerate(prompts)]
    if any(len(row) != length for row in rows):
        return None
    every = [token for row in rows for token in row]
    return PromptView(
        describe(every, cells.rows, levels.limits) if levels.gated else within(every, cells.gate),
        "ratio" if cells.measure == RATIO else "share of values that differ",
        tuple(RowView(_title(n, cells), tuple(_runs(row, levels))) for n, row in enumerate(rows)),
        tuple(enumerate(levels.labels)),
        levels.gated,
    )


def _tokens(prompt: Prompt, cells: Cells, row: int, length: int) -> list[Token]:
    """Return one row's tokens with their values."""
    texts = (prompt.tokens + prompt.fed)[cells.start : cells.start + length]
    values = cells.values[row * length : (row + 1) * length]
    return [
        Token(row, cells.start + place, text, value)
        for place, (text, value) in enumerate(zip(texts, values, strict=False))
    ]


def _title(row: int, cells: Cells) -> str:
    """Name a row of the batch, and what part of it this is."""
    parts = [f"row {row + 1} of {cells.rows}"] if cells.rows > 1 else []
    parts += [f"call {cells.call + 1}"] if cells.call else []
    parts += [f"from token {cells.start}"] if cells.start else []
    return ", ".join(parts)


def _runs(tokens: Sequence[Token], levels: Scale) -> Iterator[Run]:
    """Bring neighbours of one level together, and repeated tokens to one."""
    for level, found in groupby(tokens, key=lambda one: _level(one, levels)):
        group = list(found)
        yield from (_run(part, level) for part in _parts(group))


def _level(token: Token, levels: Scale) -> int:
    """Return a token's level; -1 for padding."""
    return -1 if token.value is None else levels.level(token.value)


def _parts(group: Sequence[Token]) -> Iterator[list[Token]]:
    """Cut tokens so that a token repeated often is a part of its own."""
    part: list[Token] = []
    for _, found in groupby(group, key=lambda one: one.text):
        same = list(found)
        if len(same) >= REPEATED:
            if part:
                yield part
            yield same
            part = []
        else:
            part += same
    if part:
        yield part


def _run(tokens: Sequence[Token], level: int) -> Run:
    """Write one run."""
    first, last = tokens[0].place, tokens[-1].place
    where = f"token {first}" if first == last else f"tokens {first} to {last}"
    repeated = len(tokens) >= REPEATED and len({one.text for one in tokens}) == 1
    text = "".join(visible(one.text) for one in tokens)
    if repeated:
        text = f"{visible(tokens[0].text)} \N{MULTIPLICATION SIGN} {len(tokens)}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    if level < 0:
        return Run(text, -1, f"{where}: padding, not compared", repeated)
    values = [one.value for one in tokens if one.value is not None]
    most = max(values, key=lambda one: math.inf if math.isnan(one) else one)
    up_to = number(most) if first == last else f"up to {number(most)}"
    return Run(text, level, f"{where}: {up_to}", repeated)


def visible(text: str) -> str:
    """Return a token as it can be shown: what cannot be is replaced, line ends are marked."""
    shown = text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in shown)
