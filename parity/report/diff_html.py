"""The page of a comparison of two runs: one file that needs nothing else, not even a script."""

from __future__ import annotations

from parity.core.diff_runs import Runs
from parity.report.diff_figure import draw_plot
from parity.report.diff_plot import plots
from parity.report.diff_view import diff_view
from parity.report.html import render_page

TEMPLATE = "diff.html.j2"
STYLES = ("page.css", "diff.css")


def render_diff(runs: Runs, names: tuple[str, str], limit: int) -> str:
    """Render a comparison as one HTML document.

    Args:
        runs: The comparison.
        names: What the two runs are called.
        limit: Lines of one kind of change; the others are counted.

    Returns:
        The document. Encode it as UTF-8.
    """
    drawn = [(plot, draw_plot(plot)) for plot in plots(runs.rows.changes)]
    return render_page(TEMPLATE, STYLES, (), view=diff_view(runs, names, limit), plots=drawn)
