"""Position ids of both sides where they differ: a grid an axis and picture, and runs of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parity.core.detail import PATCHES, TOKENS, Ids
from parity.core.inputs_shown import IMAGE, VIDEO, InputsShown, Picture
from parity.report.patches import size, spots
from parity.report.text import clean, plural

AXES = {"t": "time (t)", "h": "height (h)", "w": "width (w)"}
PADS = {"<|image_pad|>": IMAGE, "<|video_pad|>": VIDEO}
MOST_CELLS = 600
"""Cells of one grid that are written out."""
MOST_GRIDS = 6
"""Pictures of one row whose ids are drawn."""


@dataclass(frozen=True)
class IdCell:
    """One id on both sides."""

    reference: int
    candidate: int

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return self.reference != self.candidate


@dataclass(frozen=True)
class AxisView:
    """One axis: of a picture its rows, of text one row of runs."""

    name: str
    rows: tuple[tuple[IdCell, ...], ...]
    differing: int


@dataclass(frozen=True)
class IdBlock:
    """A picture, or the text between two, with its axes."""

    title: str
    axes: tuple[AxisView, ...]
    sentence: str
    text: bool
    """Whether it is text, whose ids are written as a list."""


@dataclass(frozen=True)
class IdsView:
    """All that differs."""

    sentence: str
    blocks: tuple[IdBlock, ...]
    left_out: int
    """Blocks that differ and are not drawn."""


def ids_view(ids: Ids | None, shown: InputsShown | None) -> IdsView | None:
    """Draw the ids; ``None`` if there are none, or they do not fit the inputs."""
    if ids is None or shown is None or not ids.axes:
        return None
    lengths = {len(grid) for side in (ids.reference, ids.candidate) for grid in side}
    if len(lengths) != 1 or not len(ids.axes) == len(ids.reference) == len(ids.candidate):
        return None
    (count,) = lengths
    pieces = list(_patches(ids, shown) if ids.layout == PATCHES else _tokens(ids, shown, count))
    if sum(len(piece.places) for piece in pieces) != count:
        return None
    blocks = [_block(piece, ids) for piece in pieces]
    wrong = [one for one in blocks if any(axis.differing for axis in one.axes)]
    return IdsView(_sentence(ids, count), tuple(wrong[:MOST_GRIDS]), len(wrong[MOST_GRIDS:]))


@dataclass(frozen=True)
class _Piece:
    """Where in the list of ids something is, as rows of places."""

    title: str
    places: tuple[int, ...]
    width: int
    """Places a row."""
    text: bool = False


def _patches(ids: Ids, shown: InputsShown) -> Iterator[_Piece]:
    """Yield every picture of one firing of the vision tower."""
    pictures = [one for one in shown.pictures if one.firing == ids.firing]
    found = spots(pictures, shown.merge, PATCHES)
    for number, picture in enumerate(pictures):
        cells = [(spot.row, spot.column, place) for place, spot in enumerate(found)
                 if spot.picture == number]  # fmt: skip
        places = tuple(place for _, _, place in sorted(cells))
        yield _Piece(_named(picture), places, picture.width)


def _tokens(ids: Ids, shown: InputsShown, count: int) -> Iterator[_Piece]:
    """Yield the text and the pictures of every row of the prompt, in order."""
    if ids.layout != TOKENS or ids.rows < 1 or count % ids.rows:
        return
    length = count // ids.rows
    left = {kind: _wholes(shown, kind, ids.call) for kind in (IMAGE, VIDEO)}
    for prompt in (one for one in shown.prompts if one.call == ids.call):
        tokens = (prompt.tokens + prompt.fed)[ids.start : ids.start + length]
        offset = prompt.row * length
        place = 0
        while place < len(tokens):
            kind = PADS.get(tokens[place])
            if kind and left[kind] and not ids.start:
                title, width, size_ = left[kind].pop(0)
            else:
                title, size_ = "text", _text_length(tokens, place, bool(ids.start))
                width = size_
            places = tuple(range(offset + place, offset + min(place + size_, len(tokens))))
            row = f"row {prompt.row + 1}, " if ids.rows > 1 else ""
            last = place + len(places) - 1
            name = f"{row}text, tokens {place + ids.start} to {last + ids.start}"
            yield _Piece(name if title == "text" else row + title, places, width, title == "text")
            place += len(places)


def _text_length(tokens: Sequence[str], start: int, all_of_it: bool) -> int:
    """Return how many tokens there are until the next picture."""
    if all_of_it:
        return len(tokens) - start
    end = start + 1
    while end < len(tokens) and tokens[end] not in PADS:
        end += 1
    return end - start


def _wholes(shown: InputsShown, kind: str, call: int) -> list[tuple[str, int, int]]:
    """Return title, width and tokens of every frame of one kind in one call."""
    chosen = [one for one in shown.pictures if one.kind == kind and one.call == call]
    found = []
    for one in chosen:
        height, width = size(one, shown.merge, "merged")
        found.append((_named(one), width, height * width))
    return found


def _named(picture: Picture) -> str:
    """Name a picture."""
    frame = f", frame pair {picture.frame + 1}" if picture.kind == VIDEO else ""
    return clean(f"{picture.kind} {picture.number + 1}{frame}, {picture.name}")


def _block(piece: _Piece, ids: Ids) -> IdBlock:
    """Collect the ids of one piece."""
    axes = []
    for n, name in enumerate(ids.axes):
        cells = [IdCell(ids.reference[n][place], ids.candidate[n][place]) for place in piece.places]
        width = max(1, piece.width)
        kept = cells[:MOST_CELLS]
        rows = tuple(tuple(kept[at : at + width]) for at in range(0, len(kept), width))
        axes.append(AxisView(AXES.get(name, clean(name)), rows, sum(c.differs for c in cells)))
    wrong = [f"{axis.differing} in {axis.name}" for axis in axes if axis.differing]
    said = f"{plural(len(piece.places), 'id')} an axis; differing: {', '.join(wrong) or 'none'}"
    return IdBlock(piece.title, tuple(axes), said, piece.text)


def _sentence(ids: Ids, count: int) -> str:
    """Say how many differ on each axis."""
    parts = []
    for n, name in enumerate(ids.axes):
        pairs = zip(ids.reference[n], ids.candidate[n], strict=True)
        wrong = sum(one != other for one, other in pairs)
        parts.append(f"{wrong:,} of {count:,} in {AXES.get(name, clean(name))}")
    return f"Ids that differ: {', '.join(parts)}."
