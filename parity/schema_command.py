"""``python -m parity schema``: the JSON Schema of ``rows.json``."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema (2020-12) of the `rows.json` that every run leaves.

    It is made from the code that writes the file, and published as `docs/rows.schema.json`. To
    check a file in CI: `python -m parity schema > rows.schema.json`, then `jsonschema -i
    reports/latest/rows.json rows.schema.json`, or any other validator. The file's `format` is part
    of the schema: it grows by one whenever a reader of the last format could stumble.
    """
    from parity.report.schema import schema_text

    typer.echo(schema_text(), nl=False)
