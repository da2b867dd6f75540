"""The picture of a calibration: how far both distributions are from their gates, by dtype.

Each dtype has a panel and each kind of module a line. Everything is in units of its own gate, on a
logarithmic scale: the faithful port has to lie left of 1, planted faults right of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape

from parity.core.gates_file import GatesFile, Margin

INK, GREY, LIGHT, LOCAL, END, FAULT = (
    "#1b1f24", "#6e7781", "#d0d7de", "#0969da", "#a9d3ff", "#cf222e",
)  # fmt: skip
LEFT, RIGHT, TOP = 122, 22, 76
"""Margins in pixels: for the roles' names, and for title and legend."""
WIDTH, LINE, GAP, COLUMNS = 470, 17, 58, 2
"""Of a panel; of a line; between panels; panels side by side."""
LEAST, MOST = 1e-2, 1e8
"""What is further out is drawn at the edge."""


def draw(files: Mapping[str, GatesFile]) -> str:
    """The picture of one device's gates as SVG, on a white ground.

    Args:
        files: gates files by dtype.
    """
    height = max(len(content.gates["local"]) for content in files.values()) * LINE + GAP
    rows = math.ceil(len(files) / COLUMNS)
    size = (COLUMNS * WIDTH, TOP + rows * height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'width="{size[0]}" height="{size[1]}" role="img" font-family="sans-serif">',
        "<title>Ratios of the faithful port and of planted faults, in units of the gate</title>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
        *_legend(),
    ]
    for number, (dtype, content) in enumerate(files.items()):
        left, top = number % COLUMNS * WIDTH, TOP + number // COLUMNS * height
        parts += [f'<g transform="translate({left} {top})">', *_panel(dtype, content), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> Iterator[str]:
    """What the marks mean."""
    yield _text(12, 24, "Ratio in units of its gate", 15, "start", INK, bold=True)
    yield f'<rect x="12" y="40" width="26" height="6" fill="{LOCAL}"/>'
    yield f'<rect x="12" y="47" width="26" height="4" fill="{END}"/>'
    yield _text(46, 50, "faithful port, median to largest: local, end to end", 12, "start", GREY)
    yield f'<circle cx="372" cy="46" r="4" fill="{FAULT}" fill-opacity="0.6"/>'
    yield _text(382, 50, "planted fault, at its own point", 12, "start", GREY)
    yield f'<circle cx="592" cy="46" r="4" fill="none" stroke="{GREY}"/>'
    yield _text(602, 50, "fault that the dtype hides", 12, "start", GREY)
    yield f'<path d="M790 38v16" stroke="{INK}" stroke-width="2"/>'
    yield _text(798, 50, "gate", 12, "start", GREY)


def _panel(dtype: str, content: GatesFile) -> Iterator[str]:
    """One dtype."""
    roles = list(content.gates["local"])
    bottom = 10 + len(roles) * LINE
    runs = content.measured.get("runs", 0)
    yield _text(LEFT, 0, f"{dtype}, {runs} runs", 13, "start", INK, bold=True)
    for power in range(round(math.log10(LEAST)), round(math.log10(MOST)) + 1):
        x = _x(10.0**power)
        yield f'<path d="M{x:.1f} 8V{bottom}" stroke="{LIGHT}" stroke-width="1"/>'
        if power % 2 == 0:
            label = "1" if power == 0 else f"10{_raised(power)}"
            yield _text(x, bottom + 15, label, 11, "middle", GREY)
    for number, role in enumerate(roles):
        middle = 10 + (number + 0.5) * LINE
        yield _text(LEFT - 8, middle + 4, role, 11.5, "end", INK)
        yield from _bars(content, role, middle)
        own = {name: one for name, one in content.faults.items() if one.role == role}
        yield from _dots(own, middle)
    yield f'<path d="M{_x(1.0):.1f} 6V{bottom}" stroke="{INK}" stroke-width="2"/>'


def _bars(content: GatesFile, role: str, middle: float) -> Iterator[str]:
    """The faithful port's ratios of one role: a bar a scope, over all its figures."""
    for scope, colour, y, height in (("local", LOCAL, -5, 6), ("end_to_end", END, 2, 4)):
        found = content.distributions.get(scope, {}).get(role, {})
        gates = content.gates[scope][role]
        if not found:
            continue
        start = _x(min(one.q50 / gates[name] for name, one in found.items()))
        stop = _x(max(one.largest / gates[name] for name, one in found.items()))
        yield (f'<rect x="{start:.1f}" y="{middle + y:.1f}" width="{max(stop - start, 1):.1f}" '
               f'height="{height}" fill="{colour}"/>')  # fmt: skip


def _dots(faults: Mapping[str, Margin], middle: float) -> Iterator[str]:
    """The planted faults of one role."""
    for name, one in faults.items():
        seen, hidden = f'fill="{FAULT}" fill-opacity="0.6"', f'fill="none" stroke="{GREY}"'
        yield (
            f'<circle cx="{_x(one.times):.1f}" cy="{middle:.1f}" r="4" '
            f"{seen if one.seen else hidden}>"
            f"<title>{escape(name)}: {one.times:.3g} times its gate</title></circle>"
        )


def _x(times: float) -> float:
    """Where a multiple of the gate is drawn."""
    inside = min(max(times, LEAST), MOST)
    share = math.log10(inside / LEAST) / math.log10(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _text(
    x: float, y: float, text: str, size: float, anchor: str, colour: str, *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{colour}"{weight}>{escape(text)}</text>')  # fmt: skip


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
