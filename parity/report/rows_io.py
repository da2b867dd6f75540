"""Rows as JSON, which reads back equal, and as a flat CSV table for a spreadsheet.

JSON has no NaN and no infinity. Where the schema says a field is a float they are written as the
strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, so any JSON reader can load the file.
The file holds a hash of what it says, so that a damaged one is never taken for a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from parity.core.arithmetic import Arithmetic
from parity.core.detail import Detail
from parity.core.errors import ParityError
from parity.core.files import read_text
from parity.core.inputs_shown import InputsShown
from parity.core.nonfinite import NonFinite
from parity.core.rows import Between, Comparison, Kind, Row, RunResult, Slice, Verdict
from parity.core.sources import Source
from parity.core.standards import Standards
from parity.core.store import json_hash
from parity.report.plain_io import decode, decode_float, encode, encode_float

FORMAT_NAME = "parity-rows"
FORMAT = 5
READ = (3, 4, 5)
"""Formats that are read; 3 has no details, inputs and sources, 4 no comparison of modes."""
HASH = "sha256"
"""Of all else in canonical JSON (no white space, keys sorted); absent in files of before."""
MAX_BYTES = 1 << 30

_INTEGERS = {
    "order", "firing", "excluded_rows", "mismatches", "nonfinite", "index", "compared",
    "saturated", "reference_saturated", "nan", "plus_inf", "minus_inf",
}  # fmt: skip
_SHAPES = {"shape", "candidate_shape", "max_index", "first"}
_NESTED: dict[str, type[Any]] = {
    "local": Comparison, "end_to_end": Comparison,
    "whole": Slice, "row": Slice, "column": Slice, "update": Slice,
    "candidate_nonfinite": NonFinite, "reference_nonfinite": NonFinite, "standards": Standards,
    "arithmetic": Arithmetic,
}  # fmt: skip
_FLOATS = {
    "ratio", "error", "floor", "gate", "max_abs", "reference_value", "candidate_value",
    "mean_relative", "max_relative", "mean_ulp", "max_ulp", "cosine", "rtol",
    "dual_max", "dual_mean", "dual_rms", "share", "expected", "block_ratio", "block_gate",
}  # fmt: skip
_FLAGS = {"open_operator", "dual_l1", "dual_l2"}
_OPTIONAL = {
    "cause", "candidate_shape", "mismatches", "local", "end_to_end", "row", "column", "update",
    "index", "suggestions", "kernel", "arithmetic", "override", "candidate_nonfinite",
    "reference_nonfinite", "open_operator", "between", "local_bits", "end_bits", "block_ratio",
    "block_gate",
}  # fmt: skip
_TEXTS = {"suggestions"}


def result_to_dict(result: RunResult) -> dict[str, Any]:
    """Return a run as the types that JSON has, non-finite floats as text.

    ``passed`` and ``counts`` stand beside the rows for those who read the file with ``jq``; they
    are not read back. Provenance is JSON's own types; anything else in it (a path, a NaN) becomes
    text, since a value nobody foresaw should not cost the report of a long run.
    """
    found = {
        "format_name": FORMAT_NAME,
        "format": FORMAT,
        "passed": result.passed,
        "counts": result.counts,
        "provenance": plain(result.provenance),
        "not_compared": list(result.not_compared),
        "invalid": list(result.invalid),
        "ledger": plain(result.ledger),
        "kernels": plain(result.kernels),
        "details": [encode(one) for one in result.details],
        "inputs": {case: encode(one) for case, one in result.inputs.items()},
        "sources": {point: encode(one) for point, one in result.sources.items()},
        "rows": [_encode(row) for row in result.rows],
    }
    return {HASH: json_hash(found), **found}


def result_from_dict(found: dict[str, Any], name: str = "the run") -> RunResult:
    """Return the run that ``result_to_dict`` was given.

    Args:
        found: What it returned.
        name: Where it comes from, for errors: a path, say.

    Raises:
        ParityError: Not ours, another format number, a field that is missing, unknown or of
            another type, or content that is not what was written.
    """
    if found.get("format_name") != FORMAT_NAME:
        raise ParityError(f"{name} was not written by parity: name the rows.json of a report.")
    if found.get("format") not in READ:
        raise ParityError(
            f"{name} has format {found.get('format')!r} and this version reads formats "
            f"{', '.join(map(str, READ))}: make the report again with this version, or read it "
            "with the one that wrote it."
        )
    try:
        rows = [_decode(Row, entry, f"rows[{n}]") for n, entry in enumerate(found["rows"])]
        result = RunResult(
            rows,
            dict(found["provenance"]),
            _texts(found["not_compared"], "not_compared"),
            _texts(found["invalid"], "invalid"),
            dict(found["ledger"]),
            [dict(entry) for entry in found["kernels"]],
            list(decode(tuple[Detail, ...], found.get("details", []), "details")),
            _named(InputsShown, found.get("inputs", {}), "inputs"),
            _named(Source, found.get("sources", {}), "sources"),
        )
        _check_hash(found)
        return result
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ParityError(f"{name} is damaged ({reason}): make the report again.") from error


def _check_hash(found: Mapping[str, Any]) -> None:
    """See that the content is the one that was written, if it says which that was.

    Raises:
        ValueError: It is another.
    """
    content = {name: value for name, value in found.items() if name != HASH}
    if HASH in found and found[HASH] != json_hash(content):
        raise ValueError("its content does not match its own hash")


def to_json(result: RunResult) -> str:
    """Write a run as JSON, one line a row, ASCII only."""
    head = result_to_dict(result)
    rows = ",\n".join(json.dumps(row, allow_nan=False) for row in head.pop("rows"))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    return "{" + ",\n".join(lines) + ',\n"rows": [\n' + rows + "\n]}\n"


def is_rows_json(path: Path) -> bool:
    """Whether a file is one that ``to_json`` wrote, of any format number; False if unreadable."""
    try:
        found = json.loads(read_text(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format_name") == FORMAT_NAME


def read_json(path: Path) -> RunResult:
    """Read ``rows.json`` back.

    Args:
        path: The file.

    Returns:
        A run equal to the one written.

    Raises:
        ParityError: The file cannot be read, is not ours, has another format number, or a field
            is missing, unknown or of another type. The message names the file and the fix.
    """
    return result_from_dict(_load(path), str(path))


def _load(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``."""
    try:
        found = json.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise ParityError(
            f"{path} cannot be read ({error.strerror}): name the rows.json of a report."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ParityError(
            f"{path} is not JSON ({error}): name the rows.json of a report, or make it again."
        ) from error
    if not isinstance(found, dict):
        raise ParityError(f"{path} was not written by parity: name the rows.json of a report.")
    return found


def plain(value: object) -> Any:
    """Return provenance, or what else holds any values, as types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return str(value)


def _encode(thing: Row | Comparison | Slice | NonFinite | Standards | Arithmetic) -> dict[str, Any]:
    """Return a dataclass of the schema as a JSON object, absent values left out."""
    pairs = ((one.name, getattr(thing, one.name)) for one in fields(thing))
    return {
        name: _encode_value(name, value)
        for name, value in pairs
        if value is not None and not (name in _TEXTS and not value)
    }


def _encode_value(name: str, value: Any) -> Any:
    """Return one field as JSON."""
    if name in _NESTED:
        return _encode(value)
    if isinstance(value, Enum):
        return value.value
    if name in _SHAPES:
        return [int(size) for size in value]
    if name in _TEXTS:
        return list(value)
    if name in _FLOATS:
        return encode_float(value)
    return int(value) if name in _INTEGERS else value


def _decode(schema: type[Any], entry: object, where: str) -> Any:
    """Return the dataclass that a JSON object describes; ``where`` names it in errors."""
    if not isinstance(entry, dict):
        raise TypeError(f"{where} is not an object")
    usual = _USUAL[schema]
    if unknown := sorted(entry.keys() - usual.keys()):
        raise ValueError(f"{where} has an unknown field {unknown[0]!r}")
    if absent := sorted(usual.keys() - entry.keys() - _OPTIONAL):
        raise ValueError(f"{where} has no {absent[0]!r}")
    values = {name: _decode_value(name, value, f"{where}.{name}") for name, value in entry.items()}
    return schema(**{**usual, **values})


def _decode_value(name: str, value: Any, where: str) -> Any:
    """Return one field as the schema has it."""
    read = _READERS.get(name)
    if read is not None:
        return read(value, where)
    if not isinstance(value, str):
        raise TypeError(f"{where} is not text")
    return value


def _shape(value: Any, where: str) -> tuple[int, ...]:
    """Return a shape or an index."""
    return tuple([_integer(size, where) for size in value])


def _named(schema: type[Any], value: Any, where: str) -> dict[str, Any]:
    """Return dataclasses of ``schema`` by name."""
    if not isinstance(value, dict):
        raise TypeError(f"{where} is not an object")
    return {name: decode(schema, one, f"{where}[{name!r}]") for name, one in value.items()}


def _integer(value: Any, where: str) -> int:
    """Return an integer, refusing everything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{where} is not an integer: {value!r}")
    return value


def _flag(value: Any, where: str) -> bool:
    """Return true or false, refusing everything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{where} is not true or false: {value!r}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    """Return a list of text, refusing everything else."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{where} is not a list of text")
    return value


_READERS: dict[str, Callable[[Any, str], Any]] = {
    **{name: partial(_decode, schema) for name, schema in _NESTED.items()},
    **dict.fromkeys(_FLOATS, decode_float),
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_SHAPES, _shape),
    **dict.fromkeys(_TEXTS, lambda value, where: tuple(_texts(value, where))),
    **dict.fromkeys(_FLAGS, _flag),
    "verdict": lambda value, where: Verdict(value),
    "kind": lambda value, where: Kind(value),
    "between": lambda value, where: Between(value),
}
"""What reads each field that is not plain text."""
_SCHEMAS: tuple[type[Any], ...] = (Row, *_NESTED.values())
_USUAL: dict[type[Any], dict[str, Any]] = {
    schema: {one.name: () if one.name in _TEXTS else None for one in fields(schema)}
    for schema in _SCHEMAS
}
"""The fields of each dataclass, each with what stands for it where it is absent."""
