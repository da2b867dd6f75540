"""The page: view data through a template into one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parity.core.rows import RunResult
from parity.report.figure import draw
from parity.report.view import view

TEMPLATE = "report.html.j2"


def render(result: RunResult) -> str:
    """Render a run as one HTML document.

    Style and script are part of the document, and its content policy lets the browser load nothing
    else and run no other script, whatever the names in the run may hold.

    Args:
        result: The run.

    Returns:
        The document. Encode it as UTF-8.
    """
    environment = _environment()
    style, script = _asset("report.css"), _asset("report.js")
    return environment.get_template(TEMPLATE).render(
        view=view(result), draw=draw, style=style, script=script, script_hash=_hash(script)
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the environment of the template: it escapes, and refuses names it does not know."""
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
