"""Partial ports: modules the candidate does not have yet, for which the reference stands in.

A hole is the canonical path of such a module. What the module computes, and everything inside it,
is not judged; what reaches it is the work of the code around it, and is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from parity.core.errors import ParityError
from parity.core.points import Point


def replaceable(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The modules whose results are all points, so that the reference's can stand in for them."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.module and not point.is_input:
            found.setdefault(point.module, []).append(point)
    return {path: sorted(results, key=lambda p: p.member) for path, results in found.items()}


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """``paths`` without those that are inside another one."""
    every = list(dict.fromkeys(paths))
    return tuple(p for p in every if not any(p.startswith(f"{other}.") for other in every))


def check_holes(paths: Iterable[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """The outermost of the modules that say they are not ported.

    Raises:
        ParityError: no result of one is a declared point, so that nothing can stand in for it.
    """
    holes = outermost(paths)
    for path in holes:
        if path not in known:
            inside = [name for name in known if name.startswith(f"{path}.")]
            instead = f"; declare what is in it instead: {', '.join(inside[:4])}" if inside else ""
            raise ParityError(
                f"{path or 'the whole model'} is declared as not ported, and no declared point is "
                f"its result, so nothing can stand in for it{instead} (`python -m parity points` "
                "lists the points)"
            )
    return holes


def matching(patterns: Iterable[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """The modules that shell-style ``patterns`` name.

    Raises:
        ParityError: one names none.
    """
    found: list[str] = []
    for pattern in patterns:
        paths = [path for path in known if fnmatchcase(path, pattern)]
        if not paths:
            raise ParityError(
                f"--without {pattern!r} names no module with a declared result at this level; "
                "`python -m parity points` lists them (wildcards: * and ?)"
            )
        found += paths
    return outermost(found)


def hole_around(point: Point, holes: Iterable[str]) -> str | None:
    """The hole that ``point`` is a result of, or lies in; its inputs are not in it."""
    for path in holes:
        inside = (point.module or "").startswith(f"{path}.")
        if inside or (point.module == path and not point.is_input):
            return path
    return None
