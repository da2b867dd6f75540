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
    """What has to be the same for the same question to be asked."""
    for name, means in (
        ("level", "what is inside blocks was looked at in one run only"),
        ("checkpoint", "the two runs are of different models"),
    ):
        if name in a and name in b and _differ(a[name], b[name]):
            yield f"The runs differ in {name} ({a[name]} and {b[name]}): {means}."


def _other_captures(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    """Captures of the same case and dtype that are not the same: another reference or input."""
    captures_a, captures_b = (
        _entries(facts.get("bundles", "none"), keyed=True) for facts in (a, b)
    )
    if changed := _changed(captures_a, captures_b):
        yield (
            f"The reference was captured anew for {_listed(changed)}: inputs, weights, versions or "
            "sources of the reference differ, so floors differ too."
        )


def _other_gates(a: Mapping[str, str], b: Mapping[str, str], own_gates: bool) -> Iterator[str]:
    """Gates files that were changed between the runs, or are of other devices."""
    files_a, files_b = (_entries(facts.get("gates", "")) for facts in (a, b))
    if changed := _changed(files_a, files_b):
        yield f"The gates were changed between the runs: {_listed(changed)}."
    elif files_a and files_b and not own_gates and not files_a.keys() & files_b.keys():
        yield (
            f"The runs were judged under different gates: {_listed(files_a)} in A, "
            f"{_listed(files_b)} in B."
        )


def _changed(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Names that both have, and not for the same."""
    return [name for name, entry in a.items() if name in b and _differ(entry, b[name])]


def _differ(a: str, b: str) -> bool:
    """Whether two entries ``NAME HASH`` differ in what both have: old runs lack some hashes."""
    return any(x != y for x, y in zip(a.split(), b.split(), strict=False))


def _entries(listed: str, keyed: bool = False) -> dict[str, str]:
    """The entries of a list by name; that of a capture is followed by a key: ``x-fp32-01``."""
    entries = {entry.split()[0]: entry for entry in listed.split(", ") if " " in entry or keyed}
    return {name.rpartition("-")[0] if keyed else name: one for name, one in entries.items()}


def _listed(names: Collection[str]) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(list(names)[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
