"""The self-test as CSV: a line for each fault, dtype and method."""

from __future__ import annotations

import csv
import io

from parity.selftest.rates import METHODS
from parity.selftest.result import SelfTest
from parity.selftest.trial import HARNESS, Trial

COLUMNS = ("fault", "point", "dtype", "case", "visible", "method", "detected", "exact", "first",
           "beyond", "figure", "times_the_gate", "suggestion", "seconds")  # fmt: skip


def to_csv(result: SelfTest) -> str:
    """The table, faults in the order in which they were run, then the faithful port's runs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for trial in (*result.planted, *result.faithful):
        writer.writerows(_line(result, trial, method) for method in METHODS)
    return text.getvalue()


def _line(result: SelfTest, trial: Trial, method: str) -> dict[str, object]:
    found, mine = trial.outcomes[method], method == HARNESS
    line: dict[str, object] = {
        "fault": trial.fault or "",
        "point": result.point(trial) if trial.fault else "",
        "dtype": trial.dtype,
        "case": trial.case,
        "visible": int(bool(trial.fault) and not result.hidden(trial)),
        "method": method,
        "detected": int(found.detected),
        "exact": int(found.exact),
        "first": found.first or "",
        "beyond": found.beyond,
    }
    if mine:
        margin = "" if trial.margin is None else f"{trial.margin:.6g}"
        line |= {"figure": trial.figure, "times_the_gate": margin,
                 "suggestion": trial.suggestion, "seconds": trial.seconds}  # fmt: skip
    return line
