"""The catalogue as text for a terminal."""

from __future__ import annotations

from parity.faults.fault import Fault

INDENT = " " * 27


def lines(fault: Fault) -> list[str]:
    """A fault's name and point, what it is, where it shows, and the dtypes that hide it and why."""
    cases = ", ".join(fault.cases)
    found = [
        f"{fault.name:26} at {fault.point}",
        f"{INDENT}{fault.about} ({fault.source})",
        f"{INDENT}seen in {', '.join(fault.dtypes) or 'no dtype'}; cases: {cases}",
    ]
    for reason in dict.fromkeys(fault.hidden.values()):
        dtypes = ", ".join(dtype for dtype, why in fault.hidden.items() if why == reason)
        found.append(f"{INDENT}hidden in {dtypes}: {reason}")
    return found
