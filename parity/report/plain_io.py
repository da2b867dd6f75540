"""Dataclasses as plain JSON and back, by their annotations: strict, and equal when read back.

What an annotation may be: text, integers, floats, flags, paths, one of these or ``None``, tuples of
any length, and dataclasses of such fields. A float that is no number is written as its name.
"""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints


def encode_float(value: float) -> float | str:
    """Return a finite number as it is and any other as its name."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)


def decode_float(value: Any, where: str) -> float:
    """Return a number, or the number that one of the three names stands for.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if value not in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f"{where} is not a number: {value!r}")
    return float(value)


def encode(thing: Any) -> Any:
    """Return a dataclass as a JSON object, fields at their default left out."""
    if is_dataclass(thing):
        found = {one.name: getattr(thing, one.name) for one in fields(thing)}
        usual = {one.name: one.default for one in fields(thing) if one.default is not MISSING}
        return {k: encode(v) for k, v in found.items() if k not in usual or v != usual[k]}
    if isinstance(thing, tuple):
        return [encode(item) for item in thing]
    if isinstance(thing, Path):
        return str(thing)
    return encode_float(thing) if isinstance(thing, float) else thing


def decode(schema: Any, value: Any, where: str) -> Any:
    """Return what ``encode`` was given.

    Args:
        schema: The annotation: a dataclass, or one of the types above.
        value: JSON.
        where: Names the value in errors.

    Raises:
        TypeError: It is of another type.
        ValueError: A field is missing or unknown, or a float is neither a number nor a name.
    """
    if get_origin(schema) in (Union, types.UnionType):
        return None if value is None else decode(get_args(schema)[0], value, where)
    if get_origin(schema) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} is not a list")
        inner = get_args(schema)[0]
        return tuple(decode(inner, item, f"{where}[{n}]") for n, item in enumerate(value))
    if schema is Path:
        return Path(decode(str, value, where))
    if schema is float:
        return decode_float(value, where)
    if schema in _WORDS:
        if type(value) is not schema:
            raise TypeError(f"{where} is not {_WORDS[schema]}: {value!r:.60}")
        return value
    return _decode_object(schema, value, where)


_WORDS: dict[Any, str] = {int: "an integer", str: "text", bool: "true or false"}


def _decode_object(schema: Any, value: Any, where: str) -> Any:
    """Return a dataclass of ``schema``."""
    if not isinstance(value, dict):
        raise TypeError(f"{where} is not an object")
    hints = _hints(schema)
    if unknown := sorted(set(value) - set(hints)):
        raise ValueError(f"{where} has an unknown field {unknown[0]!r}")
    needed = {one.name for one in fields(schema) if one.default is MISSING}
    if absent := sorted(needed - set(value)):
        raise ValueError(f"{where} has no {absent[0]!r}")
    return schema(**{k: decode(hints[k], v, f"{where}.{k}") for k, v in value.items()})


@cache
def _hints(schema: type[Any]) -> dict[str, Any]:
    """Return the annotations of a dataclass as types."""
    return get_type_hints(schema)
