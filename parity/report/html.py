"""The page: view data through templates into one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parity.core.rows import RunResult
from parity.report.details import details_view
from parity.report.figure import draw
from parity.report.matrix import STEPS
from parity.report.payload import payload
from parity.report.view import view

TEMPLATE = "report.html.j2"
STYLES = ("page.css", "report.css")
SCRIPTS = ("page.js", "rows.js", "table.js", "figure.js")
"""In the order in which they build on each other."""


def render(result: RunResult) -> str:
    """Render a run as one HTML document.

    Args:
        result: The run.

    Returns:
        The document. Encode it as UTF-8.
    """
    shown, details = view(result), details_view(result)
    return render_page(
        TEMPLATE,
        (*STYLES, "details.css") if details else STYLES,
        (*SCRIPTS, "details.js") if details else SCRIPTS,
        view=shown,
        draw=draw,
        details=details,
        steps=[words for _, words in STEPS],
        payload=payload(shown.rows),
    )


def render_page(
    template: str, styles: Sequence[str], scripts: Sequence[str], **data: object
) -> str:
    """Render a template that extends ``page.html.j2`` as one HTML document.

    Styles and scripts are part of the document, and its content policy lets the browser load
    nothing else and run no other script, whatever the names in the data may hold.

    Args:
        template: File in ``templates/``, which fills the blocks ``title``, ``outcome`` and
            ``body``.
        styles: Style sheets there, of which ``page.css`` is the one that all pages share.
        scripts: Scripts there.
        data: What the template knows by name.

    Returns:
        The document. Encode it as UTF-8.
    """
    texts = [_asset(name) for name in scripts]
    policy = " ".join(f"'sha256-{_hash(text)}'" for text in texts) or "'none'"
    page = _environment().get_template(template)
    sheets = [_asset(name) for name in styles]
    return page.render(data, styles=sheets, scripts=texts, policy=Markup(policy))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the environment of the templates: it escapes, and refuses names it does not know."""
    return Environment(
        loader=PackageLoader("parity.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _asset(name: str) -> Markup:
    """Return a style or script file, to stand in the page as it is."""
    file = resources.files("parity.report") / "templates" / name
    return Markup(file.read_text(encoding="utf-8"))


def _hash(script: str) -> str:
    """Return the hash of the text between the script's tags, by which the policy knows it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
