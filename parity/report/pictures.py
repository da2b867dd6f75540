"""The error of a point drawn over the pictures that it was computed from: plain data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from parity.core.detail import PATCHES, RATIO, TOKENS, Cells
from parity.core.inputs_shown import VIDEO, InputsShown, Picture
from parity.report.levels import LEVELS, Scale, scale, shares
from parity.report.patches import size, spots
from parity.report.patterns import Cell, Scene, counted, describe, within
from parity.report.text import clean, number

SAFE = re.compile(r"data:image/(webp|png|jpeg);base64,[A-Za-z0-9+/]{1,60000}={0,2}")
"""The only addresses of pictures that a page takes."""


@dataclass(frozen=True)
class Layer:
    """The cells of one level in one picture."""

    level: int
    label: str
    """``43 to 1,900: 12 patches``."""
    path: str
    """Points in an SVG in which a cell is 1 x 1; the style draws a square at each."""


@dataclass(frozen=True)
class PictureView:
    """One image or frame with the error over it."""

    title: str
    """``image 2 of 2, pair-tall.png``."""
    data: str
    """Thumbnail; empty if there is none."""
    height: int
    width: int
    """In cells."""
    layers: tuple[Layer, ...]
    values: str
    """Every cell's value, row by row, commas between: what a pointer asks for."""
    alt: str
    """The same in words, for those who do not see it."""


@dataclass(frozen=True)
class PicturesView:
    """All pictures of one firing."""

    sentence: str
    """Where the error is; empty where no cell stands out."""
    unit: str
    """``patch``, or ``token`` where a cell is a square of merged patches."""
    measure: str
    pictures: tuple[PictureView, ...]
    legend: tuple[tuple[int, str], ...]
    """Levels with their ranges."""
    gated: bool


def pictures_view(cells: Cells, shown: InputsShown | None) -> PicturesView | None:
    """Draw ``cells`` over their pictures; ``None`` if they have none, or do not fit them."""
    if shown is None or cells.layout == TOKENS:
        return None
    pictures = [one for one in shown.pictures if one.firing == cells.firing]
    places = spots(pictures, shown.merge, cells.layout)
    levels = levels_of(cells)
    if not places or len(places) != len(cells.values) or levels is None:
        return None
    found = tuple(
        Cell(place.picture, place.row, place.column, 0.0 if value is None else value)
        for place, value in zip(places, cells.values, strict=True)
    )
    sizes = tuple(size(one, shown.merge, cells.layout) for one in pictures)
    unit = "patch" if cells.layout == PATCHES else "token"
    scene = Scene(tuple(pictures), sizes, found, unit)
    return PicturesView(
        describe(scene, levels.limits)
        if levels.gated
        else within(scene, cells.gate, levels.limits[-2]),
        unit,
        "ratio" if cells.measure == RATIO else "share of values that differ",
        tuple(_picture(number, scene, levels) for number in range(len(pictures))),
        tuple(enumerate(levels.labels)),
        levels.gated,
    )


def levels_of(cells: Cells) -> Scale | None:
    """Return the levels of the measure that ``cells`` are in."""
    return scale(cells.values, cells.gate) if cells.measure == RATIO else shares()


def _picture(place: int, scene: Scene, levels: Scale) -> PictureView:
    """Draw one picture."""
    picture, (height, width) = scene.pictures[place], scene.sizes[place]
    cells = sorted((one for one in scene.cells if one.picture == place),
                   key=lambda one: (one.row, one.column))  # fmt: skip
    layers = []
    for level in range(1, LEVELS + 1):
        chosen = [one for one in cells if levels.level(one.value) == level]
        if chosen:
            label = f"{levels.labels[level]}: {counted(len(chosen), scene.unit)}"
            layers.append(Layer(level, label, _path(chosen)))
    title = _title(picture, scene.pictures)
    said = "; ".join(layer.label for layer in layers) or "nothing stands out"
    return PictureView(
        title,
        picture.data if SAFE.fullmatch(picture.data) else "",
        height,
        width,
        tuple(layers),
        ",".join(number(one.value).replace(",", "") for one in cells),
        f"{title}, {height} by {width} cells. {said}.",
    )


def _path(cells: Sequence[Cell]) -> str:
    """Return a point in the middle of every cell, each from the one before.

    A line of no length with square ends is drawn as a square, and no other way is as short.
    """
    row, column, parts = -0.5, -0.5, []
    for one in cells:
        parts.append(f"m{one.column + 0.5 - column:g} {one.row + 0.5 - row:g}h0")
        row, column = one.row + 0.5, one.column + 0.5
    return "M-.5-.5" + "".join(parts)


def _title(picture: Picture, every: Sequence[Picture]) -> str:
    """Name a picture among all of its firing."""
    count = len({one.number for one in every if one.kind == picture.kind})
    title = f"{picture.kind} {picture.number + 1} of {count}" if count > 1 else picture.kind
    if picture.kind == VIDEO:
        frames = sum(1 for one in every if one.number == picture.number)
        title += f", frame pair {picture.frame + 1} of {frames}"
    return clean(f"{title}, {picture.name}" if picture.name else title)
