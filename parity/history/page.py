"""The trend's page: view data through a template into one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from parity.history.gate import Judgement
from parity.history.spark import draw, draw_small
from parity.history.timeline import Shift
from parity.history.view import view
from parity.report.html import render_page


def render(judgements: Sequence[Judgement], shifts: Sequence[tuple[str, tuple[Shift, ...]]]) -> str:
    """Render the trend of some environments as one HTML document, without a script.

    Args:
        judgements: The environment that counts first.
        shifts: For each of them the environment before, and what differs from it.
    """
    page = view(judgements, shifts)
    styles = ("page.css", "trend.css")
    return render_page("trend.html.j2", styles, (), view=page, draw=draw, draw_small=draw_small)
