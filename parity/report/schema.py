"""The JSON Schema of ``rows.json``, made from the dataclasses that the file is made from.

Fields, types, and what may be absent come from the annotations; descriptions are the docstrings.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
from dataclasses import MISSING, fields
from enum import Enum
from itertools import pairwise
from typing import Any, Union, get_args, get_origin, get_type_hints

from parity.core.arithmetic import Arithmetic
from parity.core.detail import Detail
from parity.core.inputs_shown import InputsShown
from parity.core.nonfinite import NonFinite
from parity.core.rows import Comparison, Row, RunResult, Slice, Verdict
from parity.core.sources import Source
from parity.core.standards import Standards
from parity.report.rows_io import FORMAT, FORMAT_NAME, HASH

_ALWAYS_WHOLE = (Row, Comparison, Slice, NonFinite, Standards, Arithmetic)
"""Written with every field but absent ones; of the others what has its default is left out."""
_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"}, int: {"type": "integer"}, bool: {"type": "boolean"},
    float: {"$ref": "#/$defs/number"},
}  # fmt: skip
_NUMBER = {
    "description": "A number; what JSON has no number for is written as its name.",
    "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_OBJECT: dict[str, Any] = {"type": "object"}


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1) + "\n"


def schema() -> dict[str, Any]:
    """The schema of the whole file, as JSON Schema 2020-12."""
    known: dict[str, Any] = {"number": _NUMBER}
    about = _descriptions(RunResult)
    counts = {verdict.value: {"type": "integer", "minimum": 0} for verdict in Verdict}
    properties: dict[str, Any] = {
        HASH: {"type": "string", "description": "SHA-256 of all else, in JSON without white space "
               "and with sorted keys: a file that was changed is refused."},
        "format_name": {"const": FORMAT_NAME},
        "format": {"const": FORMAT},
        "passed": {"type": "boolean", "description": "Whether something was compared, everything "
                   "passed and nothing was left out."},
        "counts": {"description": "How many rows have each verdict.",
                   **_object(counts, list(counts))},
        "provenance": {"description": "Where the run's numbers come from.", **_OBJECT},
        "not_compared": _TEXTS, "invalid": _TEXTS, "ledger": _OBJECT,
        "kernels": {"type": "array", "items": _OBJECT},
        "details": {"type": "array", "items": _type(Detail, known)},
        "inputs": {**_OBJECT, "additionalProperties": _type(InputsShown, known)},
        "sources": {**_OBJECT, "additionalProperties": _type(Source, known)},
        "rows": {"type": "array", "items": _type(Row, known)},
    }  # fmt: skip
    for name, text in about.items():
        properties[name] = {"description": text, **properties[name]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rows.json of a parity run",
        **_object(properties, list(properties)),
        "$defs": known,
    }


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The schema of an object that has these properties and no others."""
    return {"type": "object", "additionalProperties": False, "required": required,
            "properties": properties}  # fmt: skip


def _type(annotation: Any, known: dict[str, Any]) -> dict[str, Any]:
    """The schema of one annotation; that of a dataclass is put into ``known`` and referred to."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [_type(one, known) for one in get_args(annotation) if one is not types.NoneType]
        return {"anyOf": [*kinds, {"type": "null"}]}
    if get_origin(annotation) is tuple:
        return {"type": "array", "items": _type(get_args(annotation)[0], known)}
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if annotation.__name__ not in known:
        known[annotation.__name__] = {}  # its place, before what it holds
        known[annotation.__name__] = _definition(annotation, known)
    return {"$ref": f"#/$defs/{annotation.__name__}"}


def _definition(kind: type[Any], known: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass or an enum."""
    about = {"description": inspect.cleandoc(kind.__doc__ or "")}
    if issubclass(kind, Enum):
        return {**about, "enum": [one.value for one in kind]}
    hints, texts = get_type_hints(kind), _descriptions(kind)
    properties = {
        name: {"description": texts[name], **_type(_present(hint), known)}
        if name in texts
        else _type(_present(hint), known)
        for name, hint in hints.items()
    }
    return {**about, **_object(properties, _required(kind, hints))}


def _present(hint: Any) -> Any:
    """An annotation without ``None``: a field that is absent is not written."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not types.NoneType)
    return hint


def _required(kind: type[Any], hints: dict[str, Any]) -> list[str]:
    """The fields that are always written."""
    if kind in _ALWAYS_WHOLE:
        return [name for name, hint in hints.items()
                if types.NoneType not in get_args(hint) and hint != tuple[str, ...]]  # fmt: skip
    return [one.name for one in fields(kind) if one.default is MISSING]


def _descriptions(kind: type[Any]) -> dict[str, str]:
    """The docstrings that stand under the fields of a dataclass, by field."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }  # fmt: skip
