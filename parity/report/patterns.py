"""Say in words where on the pictures an error is: which pictures, rows, columns, edges.

A cell is *hot* if its value is over a limit. A pattern is said only if it is true of nearly every
cell: what it names is hot, and what it leaves out is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.inputs_shown import VIDEO, Picture
from parity.report.text import number, plural

NEARLY = 0.9
"""Share of cells that a pattern has to be right about, on either side."""
GROWS = 0.75
"""Rank correlation from which an error grows along an axis."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
FEW = 4
"""Rows or columns that are listed one by one."""


@dataclass(frozen=True)
class Cell:
    """A value at its place."""

    picture: int
    row: int
    column: int
    value: float


@dataclass(frozen=True)
class Scene:
    """The pictures of one firing with a value for every cell."""

    pictures: tuple[Picture, ...]
    sizes: tuple[tuple[int, int], ...]
    """Cells of each picture, from top to bottom and from left to right."""
    cells: tuple[Cell, ...]
    unit: str = "patch"


def describe(scene: Scene, limits: Sequence[float]) -> str:
    """Say where the error is, in one sentence.

    Args:
        scene: What to describe.
        limits: Values from which a cell is hot, rising, the gate first. The first at which there
            is a pattern is the one told.

    Returns:
        The sentence; empty where no cell is hot.
    """
    hot = [cell for cell in scene.cells if over(cell.value, limits[0])]
    if not hot:
        return ""
    start = _share(len(hot), len(scene.cells), scene.unit, limits[0])
    for limit in limits:
        found = pattern(scene, limit)
        if found:
            said = f"The error is {found}."
            if limit != limits[0]:
                said = f"{start} Over {number(limit)}: {found}."
            return said + _worst(scene) + _growth(scene)
    return start + _worst(scene) + _growth(scene)


def within(scene: Scene, gate: float, limit: float) -> str:
    """Say that no cell is over the gate, and where the largest are if there is a pattern.

    Args:
        scene: What to describe.
        gate: The gate.
        limit: Values over this are large among them.
    """
    found = pattern(scene, limit)
    largest = f" What is over {number(limit)} is {found}." if found else ""
    return f"Every {scene.unit} is within the gate of {number(gate)}.{largest}{_worst(scene)}"


def over(value: float, limit: float) -> bool:
    """Return whether a value is over a limit; NaN is over any."""
    return not value <= limit


def _share(hot: int, count: int, unit: str, limit: float) -> str:
    """Say how many cells are hot."""
    if hot == count:
        return f"The error is everywhere: every {unit} is over {number(limit)}."
    where = "scattered over" if hot < NEARLY * count else "nearly everywhere:"
    return f"The error is {where} {hot:,} of {counted(count, unit)}."


def counted(count: int, unit: str) -> str:
    """``1 patch``, ``2 patches``, ``3 tokens``."""
    return f"{count:,} patches" if unit == "patch" and count != 1 else plural(count, unit)


def _worst(scene: Scene) -> str:
    """Name the worst cell."""
    worst = max(scene.cells, key=lambda one: math.inf if math.isnan(one.value) else one.value)
    place = f"row {worst.row}, column {worst.column}"
    where = name_of(scene.pictures, [worst.picture])
    return f" Worst in {where}, {place}: {number(worst.value)}."


def pattern(scene: Scene, limit: float) -> str:
    """Return words for the cells over ``limit``; empty where there are no simple ones."""
    shares = _shares(scene.cells, lambda one: one.picture, limit)
    hit = [one for one, share in shares.items() if share > 1 - NEARLY]
    hit = hit or [one for one, share in shares.items() if share]
    if not hit:
        return ""
    inside = [one for one in scene.cells if one.picture in hit]
    outside = [one for one in scene.cells if one.picture not in hit]
    leak = sum(over(one.value, limit) for one in outside)
    if outside and leak > (1 - NEARLY) * len(outside):
        return ""
    where = f"only in {name_of(scene.pictures, hit)}" if outside else ""
    if all(shares[one] >= NEARLY for one in hit):
        return where
    found = _inside(scene, inside, limit)
    return f"{where}, {found}" if where and found else found


def _inside(scene: Scene, cells: Sequence[Cell], limit: float) -> str:
    """Return words for where in their pictures cells are hot."""
    for words, key in _features(scene):
        shares = _shares(cells, key, limit)
        if all(share >= NEARLY or share <= 1 - NEARLY for share in shares.values()):
            hot = [value for value, share in shares.items() if share >= NEARLY]
            found = words(hot, list(shares)) if 0 < len(hot) < len(shares) else ""
            if found:
                return found
    return _box(cells, limit)


Words = Callable[[list[Hashable], list[Hashable]], str]
Key = Callable[[Cell], Hashable]


def _features(scene: Scene) -> list[tuple[Words, Key]]:
    """Return what cells are told apart by, the simplest first."""

    def edge(one: Cell) -> bool:
        height, width = scene.sizes[one.picture]
        return one.row in (0, height - 1) or one.column in (0, width - 1)

    def from_bottom(one: Cell) -> int:
        return scene.sizes[one.picture][0] - 1 - one.row

    def from_right(one: Cell) -> int:
        return scene.sizes[one.picture][1] - 1 - one.column

    return [
        (lambda hot, every: lines(hot, every, "row"), lambda one: one.row),
        (lambda hot, every: lines(hot, every, "column"), lambda one: one.column),
        (lambda hot, every: lines(hot, every, "row", end=True), from_bottom),
        (lambda hot, every: lines(hot, every, "column", end=True), from_right),
        (lambda hot, _: "only along the edges" if hot == [True] else "everywhere but the edges",
         edge),
        (lambda hot, _: "only on the diagonal, where row and column are alike" if hot == [True]
         else "everywhere but on the diagonal, where row and column are alike",
         lambda one: one.row == one.column),
        (_parity, lambda one: (one.row % 2, one.column % 2)),
    ]  # fmt: skip


def lines(hot: Iterable[Hashable], every: Iterable[Hashable], word: str, end: bool = False) -> str:
    """Name rows or columns: ``only in the last row``, ``in every other column``.

    Args:
        hot: Numbers of those that are hot.
        every: Numbers of all.
        word: ``row`` or ``column``.
        end: Whether they are counted from the end.
    """
    found = sorted(int(str(one)) for one in hot)
    count = max(int(str(one)) for one in every) + 1
    cold = sorted(set(range(count)) - set(found))
    first, last = ("last", "first") if end else ("first", "last")
    if found == list(range(len(found))):
        one = f"in every {word} but the {last}"
        return one if len(cold) == 1 else f"only in the {first} {_many(len(found), word)}"
    if found == list(range(count - len(found), count)):
        one = f"in every {word} but the {first}"
        return one if len(cold) == 1 else f"only in the {last} {_many(len(found), word)}"
    if end:  # in the middle, counting from the start is what is said
        return ""
    if len(found) > 1 and found == list(range(found[0], count, 2)) and found[0] < 2:
        return f"in every other {word}, from {word} {found[0]}"
    if len(cold) == 1:
        return f"in every {word} but {word} {cold[0]}"
    if found == list(range(found[0], found[-1] + 1)) and len(found) > 1:
        return f"only in {word}s {found[0]} to {found[-1]}"
    if len(found) <= FEW:
        return f"only in {word}{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
    return ""


def _many(count: int, word: str) -> str:
    """``row``, or ``3 rows``."""
    return word if count == 1 else f"{count} {word}s"


def _parity(hot: list[Hashable], every: list[Hashable]) -> str:
    """Name places in each 2 x 2 window."""
    names = {(0, 0): "top left", (0, 1): "top right", (1, 0): "bottom left", (1, 1): "bottom right"}
    chosen = [names[one] for one in sorted(names) if one in hot]
    if set(hot) in ({(0, 0), (1, 1)}, {(0, 1), (1, 0)}):
        return "in every other one, as on a chessboard"
    return f"only in the {' and '.join(chosen)} of every 2 x 2" if len(every) == 4 else ""


def _box(cells: Sequence[Cell], limit: float) -> str:
    """Name the rectangle that holds the hot cells, if they fill it and the rest is cold."""
    hot = [one for one in cells if over(one.value, limit)]
    rows, columns = [one.row for one in hot], [one.column for one in hot]
    top, bottom, left, right = min(rows), max(rows), min(columns), max(columns)
    inside = [one for one in cells
              if top <= one.row <= bottom and left <= one.column <= right]  # fmt: skip
    if len(hot) < NEARLY * len(inside) or len(inside) == len(cells):
        return ""
    return f"only in {_span('row', top, bottom)}, {_span('column', left, right)}"


def _span(word: str, first: int, last: int) -> str:
    """``row 3``, or ``rows 3 to 5``."""
    return f"{word} {first}" if first == last else f"{word}s {first} to {last}"


def _shares(cells: Iterable[Cell], key: Key, limit: float) -> dict[Hashable, float]:
    """Return how large a share of the cells is hot, by what ``key`` gives."""
    groups: dict[Hashable, list[bool]] = {}
    for one in cells:
        groups.setdefault(key(one), []).append(over(one.value, limit))
    return {name: sum(found) / len(found) for name, found in groups.items()}


def name_of(pictures: Sequence[Picture], chosen: Sequence[Hashable]) -> str:
    """Name pictures: ``the second image``, ``frame 2 of the video``, ``every image but the first``.

    Args:
        pictures: All there are, in order.
        chosen: Which of them, by number.
    """
    wanted = [number for number in range(len(pictures)) if number in chosen]
    kind = pictures[0].kind
    if all(one.kind == VIDEO for one in pictures) and len({p.number for p in pictures}) == 1:
        every = range(len(pictures))
        return _among(wanted, every, "frame") + " of the video"
    wholes: dict[tuple[str, int], list[int]] = {}
    for place, one in enumerate(pictures):
        wholes.setdefault((one.kind, one.number), []).append(place)
    names = list(wholes)
    whole = [n for n, parts in enumerate(wholes.values()) if set(parts) <= set(wanted)]
    if sum(len(wholes[names[n]]) for n in whole) == len(wanted):
        return _among(whole, range(len(names)), kind)
    return _among(wanted, range(len(pictures)), "frame")


def _among(chosen: Sequence[int], every: Sequence[int], word: str) -> str:
    """Name some of several things of one kind by their places."""
    left = [one for one in every if one not in chosen]
    if not left:
        return f"the {word}" if len(every) == 1 else f"every {word}"
    if len(left) == 1 and len(chosen) > 1:
        return f"every {word} but the {ordinal(left[0])}"
    names = " and ".join(ordinal(one) for one in chosen[:FEW])
    more = f" and {len(chosen) - FEW} more" if len(chosen) > FEW else ""
    return f"the {names}{more} {word}{'s' if len(chosen) > 1 else ''}"


def ordinal(place: int) -> str:
    """``first`` for 0, and so on; ``12th`` where words end."""
    if place < len(ORDINALS):
        return ORDINALS[place]
    number = place + 1
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0)
    return f"{number}{suffix or 'th'}"


def _growth(scene: Scene) -> str:
    """Say along which axis the error grows, if it does so clearly."""
    ways: Mapping[str, Key] = {"row": lambda one: one.row, "column": lambda one: one.column}
    said = {"row": ("top to bottom", "bottom to top"), "column": ("left to right", "right to left")}
    found = [cell for cell in scene.cells if not math.isnan(cell.value)]
    best, which = max(((_correlation(found, key), name) for name, key in ways.items()),
                      key=lambda one: abs(one[0]))  # fmt: skip
    if abs(best) < GROWS:
        return ""
    return f" It grows from {said[which][best < 0]}."


def _correlation(cells: Sequence[Cell], key: Key) -> float:
    """Return the rank correlation of the values with rows or columns; 0 where there is none."""
    if len(cells) < 2 * FEW:
        return 0.0
    one = _ranks([float(str(key(cell))) for cell in cells])
    other = _ranks([cell.value for cell in cells])
    middle = (len(cells) - 1) / 2
    products = sum((a - middle) * (b - middle) for a, b in zip(one, other, strict=True))
    sizes = [math.sqrt(sum((a - middle) ** 2 for a in ranks)) for ranks in (one, other)]
    return products / (sizes[0] * sizes[1]) if all(sizes) else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank from 0, equal ones sharing theirs."""
    order = sorted(range(len(values)), key=lambda n: values[n])
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or values[order[end]] != values[order[start]]:
            for place in order[start:end]:
                ranks[place] = (start + end - 1) / 2
            start = end
    return ranks
