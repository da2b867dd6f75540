"""The structure of what a bundle says beside its tensors, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXTS = ("value", "dtype")
NAMES = ("local", "local_block", "arrival", "end_to_end")
"""Fields of a firing that name a tensor, or nothing."""
FIRING = {*TEXTS, *NAMES, "weight_rounding", "inputs"}


def check_record(data: Mapping[str, Any]) -> None:
    """See that plain data has the structure of a bundle's manifest, or of a portable record.

    Raises:
        ValueError: it has not; the message names the first part that differs.
    """
    for name in ("key", "provenance", "points"):
        _expect(isinstance(data.get(name), dict), name)
    _expect(_whole(data.get("chunks")) and data["chunks"] > 0, "chunks")
    _expect(_nested(data.get("tokens"), 3), "tokens")
    proofs = data.get("proofs")
    _expect(isinstance(proofs, list) and all(map(_is_proof, proofs)), "proofs")
    for name, firings in data["points"].items():
        _expect(isinstance(firings, list) and all(map(_is_firing, firings)), f"points[{name!r}]")


def _expect(holds: bool, where: str) -> None:
    if not holds:
        raise ValueError(f"{where[:200]} is not what it should be")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _nested(value: Any, depth: int) -> bool:
    """Whether it is whole numbers in so many lists in lists."""
    if not depth:
        return _whole(value)
    return isinstance(value, list) and all(_nested(one, depth - 1) for one in value)


def _is_proof(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and one.keys() == {"claim", "holds", "detail"}
        and isinstance(one["claim"], str)
        and isinstance(one["holds"], bool)
        and isinstance(one["detail"], str)
    )


def _is_firing(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and set(TEXTS) <= one.keys() <= FIRING
        and all(isinstance(one[name], str) for name in TEXTS)
        and all(one.get(name) is None or isinstance(one[name], str) for name in NAMES)
        and type(one.get("weight_rounding", 0.0)) in (int, float)
        and _is_inputs(one.get("inputs", {}))
    )


def _is_inputs(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())
