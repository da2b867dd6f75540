"""Draws the tutorial's figures: ``make figures``, or ``python docs/figures/make.py``.

Texts in them are numbers, module names and commands, so that one figure serves both languages.
Backgrounds are white, whatever the page's.

The error along depth is measured by the harness first and kept beside the figure as JSON;
``--keep`` draws what was measured last. The harness captures the reference if it has to, which
needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

FOLDER = Path(__file__).parent

INK, GREY, LIGHT = "#1b1f24", "#6e7781", "#d0d7de"
TEXT, IMAGE, VIDEO = "#ffffff", "#ffe08a", "#a9d3ff"
LOCAL, END, GUILTY = "#1b1f24", "#0969da", "#cf222e"
CASE, PLANT = "single-image", "quick-gelu-as-gelu"
PARTS = (("text", 3), ("image", (1, 4, 6)), ("text", 2), ("video", (3, 4, 4)), ("text", 2))
"""The prompt of the tutorial's section on M-RoPE."""


class Measured(TypedDict):
    """A module's ratios of the whole tensor, None where there is none."""

    point: str
    local: float | None
    end_to_end: float | None
    verdict: str


class Drawing:
    """An SVG in the making."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" font-family="sans-serif">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        ]

    def add(self, tag: str, **attributes: Any) -> None:
        """An element; ``stroke_width`` is written ``stroke-width``, numbers short."""
        written = (
            f'{name.replace("_", "-")}="{f"{v:.1f}".removesuffix(".0") if _is_number(v) else v}"'
            for name, v in attributes.items()
        )
        self.parts.append(f"<{tag} {' '.join(written)}/>")

    def text(self, x: float, y: float, text: object, size: float = 13, **attributes: Any) -> None:
        """A text that is centred at ``x`` unless told otherwise; ``y`` is its base line."""
        attributes = {"text_anchor": "middle", "fill": INK, **attributes}
        written = " ".join(f'{name.replace("_", "-")}="{v}"' for name, v in attributes.items())
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" {written}>'
            f"{escape(str(text))}</text>"
        )

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def shade(share: float) -> str:
    """A pale to a middle blue, for 0 to 1."""
    ends = np.array([[0xF3, 0xF8, 0xFF], [0x8C, 0xBF, 0xF5]])
    return "#" + "".join(f"{round(v):02x}" for v in ends[0] + share * (ends[1] - ends[0]))


def patch_order() -> str:
    """A grid of 4 x 6 patches in reading order, and in the order of the sequence."""
    from qwen2vl_ms.positions import vision_position_ids

    drawing = Drawing(720, 268, "patch order")
    reading = np.indices((4, 6)).reshape(2, -1).T
    merged = vision_position_ids(np.array([[1, 4, 6]]), merge_size=2)
    for left, places in ((24, reading), (384, merged)):
        _grid(drawing, left, 22, 52, places.tolist())
    drawing.add("path", d="M346 126h20m-7 -6l7 6l-7 6", fill="none", stroke=INK, stroke_width=2)
    return str(drawing)


def _grid(drawing: Drawing, left: float, top: float, side: float, places: list[list[int]]) -> None:
    """Number the places in their order, join them by a line, and frame what is merged."""
    for number, (row, column) in enumerate(places):
        drawing.add("rect", x=left + column * side, y=top + row * side, width=side, height=side,
                    fill=shade(number / len(places)), stroke="#ffffff", stroke_width=1)  # fmt: skip
    centres = [f"{left + (c + 0.5) * side:g} {top + (r + 0.5) * side:g}" for r, c in places]
    drawing.add("path", d="M" + "L".join(centres), fill="none", stroke=GREY, stroke_width=1.5)
    for number, (row, column) in enumerate(places):
        x, y = left + (column + 0.5) * side, top + (row + 0.5) * side
        drawing.add("circle", cx=x, cy=y, r=12, fill=shade(number / len(places)))
        drawing.text(x, y + 5, number, 15)
    for row, column in ((r, c) for r, c in places if r % 2 == c % 2 == 0):
        drawing.add("rect", x=left + column * side, y=top + row * side, width=2 * side,
                    height=2 * side, fill="none", stroke=INK, stroke_width=2.5)  # fmt: skip


def position_ids() -> str:
    """The three positions of every token of a prompt."""
    from qwen2vl_ms.positions import rope_index

    kinds = [kind for kind, size in PARTS for _ in range(_tokens(size))]
    types = np.array([[("text", "image", "video").index(kind) for kind in kinds]])
    grids = {kind: np.array([size]) for kind, size in PARTS if kind != "text"}
    positions, _ = rope_index(types, grids["image"], grids["video"], None, merge_size=2)
    side, left, top = 29, 40, 66
    drawing = Drawing(left + side * len(kinds) + 14, top + 3 * side + 16, "position ids")
    colours = {"text": TEXT, "image": IMAGE, "video": VIDEO}
    for row, name in enumerate("thw"):
        drawing.text(left - 14, top + (row + 0.5) * side + 5, name, 15, font_style="italic")
        for column, (kind, number) in enumerate(zip(kinds, positions[row, 0], strict=True)):
            x, y = left + column * side, top + row * side
            drawing.add("rect", x=x, y=y, width=side, height=side, fill=colours[kind],
                        stroke=GREY, stroke_width=0.7)  # fmt: skip
            drawing.text(x + side / 2, y + side / 2 + 5, number, 14)
    start = left
    for kind, size in PARTS:
        width = side * _tokens(size)
        _symbol(drawing, kind, start + width / 2, 22)
        drawing.add("path", d=f"M{start + 3} 52v-6h{width - 6}v6", fill="none", stroke=INK)
        drawing.add("rect", x=start, y=top, width=width, height=3 * side, fill="none", stroke=INK,
                    stroke_width=2)  # fmt: skip
        start += width
    for column in range(len(kinds)):
        drawing.text(left + (column + 0.5) * side, top - 4, column, 9, fill=GREY)
    return str(drawing)


def _tokens(size: int | tuple[int, int, int]) -> int:
    return size if isinstance(size, int) else math.prod(size) // 4


def _symbol(drawing: Drawing, kind: str, x: float, y: float) -> None:
    """A word, a picture or a strip of film, its middle at (x, y)."""
    if kind == "text":
        drawing.text(x, y + 7, "Aa", 19)
        return
    colour = IMAGE if kind == "image" else VIDEO
    width = 34 if kind == "image" else 66
    drawing.add("rect", x=x - width / 2, y=y - 13, width=width, height=28, fill=colour,
                stroke=INK, stroke_width=1.3)  # fmt: skip
    if kind == "image":
        hills = f"M{x - 15:g} {y + 12}l9 -13l6 7l6 -10l9 16z"
        drawing.add("path", d=hills, fill=INK)
        drawing.add("circle", cx=x - 9, cy=y - 7, r=2.6, fill=INK)
        return
    for step in range(8):
        for line in (y - 11, y + 9):
            drawing.add("rect", x=x - 30 + 8 * step, y=line, width=4, height=4, fill=INK)
    for step in range(3):
        drawing.add("rect", x=x - 31 + 22 * step, y=y - 5, width=18, height=12, fill="#ffffff")


LEFT, WIDTH, PANEL, LOW, HIGH = 64.0, 960.0, 210.0, -1.0, 7.0


def error_along_depth(runs: dict[str, list[Measured]]) -> str:
    """Ratios from the first module to the logits: of the port, and with a planted fault."""
    drawing = Drawing(LEFT + WIDTH + 20, 2 * (PANEL + 44) + 82, "error along depth")
    drawing.add("circle", cx=LEFT + WIDTH - 190, cy=16, r=4, fill=LOCAL)
    drawing.text(LEFT + WIDTH - 180, 20, "local", 13, text_anchor="start", font_family="monospace")
    drawing.add("path", d=_diamond(LEFT + WIDTH - 106, 16), fill="#ffffff", stroke=END)
    drawing.text(LEFT + WIDTH - 96, 20, "end_to_end", 13, text_anchor="start",
                 font_family="monospace")  # fmt: skip
    for index, (command, modules) in enumerate(runs.items()):
        top = 34 + index * (PANEL + 44)
        drawing.text(LEFT, top - 9, command, 13, text_anchor="start",
                     font_family="monospace")  # fmt: skip
        _panel(drawing, modules, top, named=index == len(runs) - 1)
    return str(drawing)


def _panel(drawing: Drawing, modules: Sequence[Measured], top: float, named: bool) -> None:
    xs = [LEFT + WIDTH * (index + 0.5) / len(modules) for index in range(len(modules))]
    _bands(drawing, modules, top, named)
    for power in range(int(LOW), int(HIGH) + 1):
        y = _height(10.0**power, top)
        one = power == 0
        drawing.add("path", d=f"M{LEFT} {y:.1f}h{WIDTH}", stroke=INK if one else LIGHT,
                    stroke_width=1.2 if one else 0.7)  # fmt: skip
        label = f"{10.0**power:g}" if power < 3 else f"1e{power}"
        drawing.text(LEFT - 8, y + 4, label, 11, text_anchor="end", fill=INK if one else GREY)
    ends = [(x, m["end_to_end"]) for x, m in zip(xs, modules, strict=True)]
    joined = "L".join(f"{x:.1f} {_height(v, top):.1f}" for x, v in ends if v is not None)
    drawing.add("path", d=f"M{joined}", fill="none", stroke=END, stroke_width=1)
    for x, value in ends:
        if value is not None:
            drawing.add("path", d=_diamond(x, _height(value, top)), fill="#ffffff", stroke=END)
    for x, module in zip(xs, modules, strict=True):
        if module["local"] is not None:
            guilty = module["verdict"] == "GUILTY"
            drawing.add("circle", cx=x, cy=_height(module["local"], top), r=6 if guilty else 2.6,
                        fill=GUILTY if guilty else LOCAL)  # fmt: skip
            if guilty:
                drawing.text(x - 12, _height(module["local"], top) + 4, module["point"], 12,
                             text_anchor="end", fill=GUILTY, font_family="monospace")  # fmt: skip


def _bands(drawing: Drawing, modules: Sequence[Measured], top: float, named: bool) -> None:
    """Shade every other block, and name them all under the lower panel."""
    step, start = WIDTH / len(modules), 0
    for index, (name, group) in enumerate(groupby(modules, key=lambda m: block_of(m["point"]))):
        count = len(list(group))
        x = LEFT + start * step
        if index % 2 == 0:
            drawing.add("rect", x=x, y=top, width=count * step, height=PANEL, fill="#f3f4f6")
        if named:
            x, y = x + count * step / 2 + 4, top + PANEL + 12
            drawing.text(x, y, name, 11, text_anchor="end", font_family="monospace",
                         transform=f"rotate(-60 {x:.1f} {y:.1f})")  # fmt: skip
        start += count


def block_of(point: str) -> str:
    """What a module belongs to: ``visual.blocks.2.mlp.fc1`` to ``blocks.2``."""
    parts = point.split(".")
    for index, part in enumerate(parts):
        if part in ("blocks", "layers"):
            return ".".join(parts[index : index + 2])
    return parts[0] if len(parts) == 1 else parts[1]


def _height(ratio: float, top: float) -> float:
    """Where a ratio is on the logarithmic axis; what is below the axis is on its lower end."""
    power = max(LOW, math.log10(ratio)) if ratio > 0 else LOW
    return top + PANEL * (HIGH - power) / (HIGH - LOW)


def _diamond(x: float, y: float, size: float = 4) -> str:
    return f"M{x - size:.1f} {y:.1f}l{size} -{size}l{size} {size}l-{size} {size}z"


def measure() -> dict[str, list[Measured]]:
    """Run the harness on one case, as it is and with a planted fault."""
    command = f"python -m parity run --case {CASE}"
    return {command: _ratios(None), f"{command} --plant {PLANT}": _ratios(PLANT)}


def _ratios(plant: str | None) -> list[Measured]:
    from parity.core.rows import Kind
    from parity.session import Session
    from parity.settings import Settings

    session = Session(Settings(cases=(CASE,), plant=plant), say=print)
    rows = session.run(session.cases[0], "fp32")
    return [
        Measured(
            point=row.point,
            local=row.local.whole.ratio if row.local else None,
            end_to_end=row.end_to_end.whole.ratio if row.end_to_end else None,
            verdict=row.verdict.value,
        )
        for row in rows
        if row.kind is Kind.FLOAT
    ]


def figures(runs: dict[str, list[Measured]]) -> Iterator[tuple[str, str]]:
    """File names and contents."""
    yield "patch-order.svg", patch_order()
    yield "position-ids.svg", position_ids()
    yield "error-along-depth.svg", error_along_depth(runs)


def main() -> None:
    """Measure, unless told to keep what was measured, and write the figures."""
    parser = argparse.ArgumentParser(description="Draw the tutorial's figures.")
    parser.add_argument("--keep", action="store_true", help="draw what was measured last")
    data = FOLDER / "error-along-depth.json"
    sys.path.insert(0, str(FOLDER.parent.parent))  # the packages, where they are not installed
    if not parser.parse_args().keep:
        data.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    for name, content in figures(json.loads(data.read_text(encoding="utf-8"))):
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
