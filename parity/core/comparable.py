"""Whether two runs can be held against each other throughout, and if not, why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from parity.core.diff import DTYPE, MODE
from parity.core.rows import Row, RunResult

_LISTED = 6
"""Names of a list that are written out."""


def warnings(a: RunResult, b: RunResult, across: Collection[str] = ()) -> Iterator[str]:
    """Every reason to read the comparison with care, each one a sentence.

    Args:
        a: The first run.
        b: The second.
        across: What is compared, so that it may differ: ``dtype``, ``mode``.
    """
    yield from _untrusted("A", a)
    yield from _untrusted("B", b)
    yield from _other_names("cases", a, b, lambda row: row.case)
    if DTYPE not in across:
        yield from _other_names("dtypes", a, b, lambda row: row.dtype)
    if MODE not in across:
        yield from _other_names("modes", a, b, lambda row: row.mode)
    facts = flat(a.provenance), flat(b.provenance)
    yield from _other_facts(*facts)
    yield from _other_captures(*facts)
    yield from _other_gates(*facts, DTYPE in across)


def flat(value: object, name: str = "") -> dict[str, str]:
    """Nested provenance as names with dots and texts."""
    if isinstance(value, Mapping):
        pairs = ((f"{name}.{inner}" if name else str(inner), item) for inner, item in value.items())
        return {found: text for outer, item in pairs for found, text in flat(item, outer).items()}
    if isinstance(value, (list, tuple)):
        return {name: ", ".join(map(str, value))}
    return {name: str(value)}


def _untrusted(name: str, run: RunResult) -> Iterator[str]:
    if run.invalid:
        yield (
            f"Run {name} failed {len(run.invalid)} of the proofs of itself, so nothing it says can "
            "be trusted, and nothing of this comparison."
        )


def _other_names(
    what: str, a: RunResult, b: RunResult, name: Callable[[Row], str]
) -> Iterator[str]:
    """What only one of the runs has: cases, dtypes or modes."""
    names_a, names_b = dict.fromkeys(map(name, a.rows)), dict.fromkeys(map(name, b.rows))
    only_a = [one for one in names_a if one not in names_b]
    only_b = [one for one in names_b if one not in names_a]
    sides = [f"only in {run}: {_listed(one)}" for run, one in (("A", only_a), ("B", only_b)) if one]
    if sides:
        yield f"The runs have different {what} ({'; '.join(sides)})."


def _other_facts(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    """What both runs recorded and has to be the same for the same question to be asked."""
    for name, means in (
        ("level", "what is inside blocks was looked at in one run only"),
        ("checkpoint", "the two runs are of different models"),
    ):
        if name in a and name in b and a[name] != b[name]:
            yield f"The runs differ in {name} ({a[name]} and {b[name]}): {means}."


def _other_captures(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    """Captures of the same case and dtype with another hash: another reference or input."""
    changed = _rehashed(a.get("bundles", ""), b.get("bundles", ""), "-")
    if changed:
        yield (
            f"The reference was captured anew for {_listed(changed)}: inputs, weights, versions or "
            "sources of the reference differ, so floors differ too."
        )


def _other_gates(a: Mapping[str, str], b: Mapping[str, str], own_gates: bool) -> Iterator[str]:
    """Gates files that were changed between the runs, or are of other devices."""
    files_a, files_b = a.get("gates", ""), b.get("gates", "")
    changed = _rehashed(files_a, files_b, " ")
    if changed:
        yield f"The gates were changed between the runs: {_listed(changed)}."
    elif (
        files_a
        and files_b
        and not own_gates
        and not _hashes(files_a, " ").keys() & _hashes(files_b, " ")
    ):
        yield f"The runs were judged under different gates: {files_a} and {files_b}."


def _rehashed(a: str, b: str, before: str) -> list[str]:
    """Names in both lists of ``NAME HASH`` that have another hash."""
    hashes = _hashes(b, before)
    return [name for name, found in _hashes(a, before).items() if hashes.get(name, found) != found]


def _hashes(listed: str, before: str) -> dict[str, str]:
    """Name to hash, of entries that end in the character ``before`` and a hash."""
    parts = (entry.rpartition(before) for entry in listed.split(", ") if before in entry)
    return {name: found for name, _, found in parts}


def _listed(names: Collection[str]) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(list(names)[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
