"""A run as JUnit XML, which CI systems show as tests: a suite a case and dtype, a test a row.

The file fails exactly if the run does: there is a failure or an error in it, or none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from parity.core.rows import Row, RunResult, Verdict
from parity.report.groups import group
from parity.report.headline import sentence

PASS, SKIPPED, FAILURE, ERROR = "pass", "skipped", "failure", "error"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not."""


@dataclass(frozen=True)
class Test:
    """One test of a suite."""

    name: str
    outcome: str = PASS
    """``pass``, ``skipped``, ``failure`` or ``error``."""
    kind: str = ""
    """Such as ``GUILTY``."""
    message: str = ""


def to_junit(result: RunResult) -> str:
    """Write a run as JUnit XML, with the elements that Jenkins, GitLab and GitHub actions read."""
    suites = list(_suites(result))
    every = _totals([test for _, tests in suites for test in tests])
    every.pop("skipped")  # which the element for all suites does not have
    root = ElementTree.Element("testsuites", {"name": "parity", **every})
    seconds = result.provenance.get("seconds")
    if isinstance(seconds, (int, float)):
        root.set("time", f"{seconds:.3f}")
    for name, tests in suites:
        suite = ElementTree.SubElement(root, "testsuite", {"name": legal(name)})
        suite.attrib |= _totals(tests)
        for test in tests:
            _add(suite, name, test)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def legal(text: str) -> str:
    """``text`` with U+FFFD for what XML cannot hold: control characters, halves of pairs."""
    return _ILLEGAL.sub("\ufffd", text)


def _suites(result: RunResult) -> Iterator[tuple[str, list[Test]]]:
    """Name and tests of every suite; where rows alone do not tell that a run fails, one does."""
    fails = False
    for one in group(result.rows):
        blamed = {fault.point for fault in one.faults}
        tests = [_test(row, blamed) for row in one.rows]
        fails |= any(test.outcome is FAILURE for test in tests)
        yield f"{one.case}.{one.dtype}", tests
    run = [Test(text, ERROR, "INVALID", text) for text in result.invalid]
    run += [Test(text, ERROR, "NOT COMPARED", text) for text in result.not_compared]
    if not result.passed and not fails and not run:
        run = [Test("run", ERROR, "FAILED", sentence(result))]
    if run:
        yield "run", run


def _test(row: Row, blamed: Collection[str]) -> Test:
    """The test of one row; a victim is skipped if what it is a victim of is in ``blamed``."""
    name = f"{row.point} (firing {row.firing})" if row.firing else row.point
    if row.verdict is Verdict.PASS:
        return Test(name)
    if row.verdict is Verdict.ABSENT:
        return Test(name, SKIPPED, row.verdict.value, f"{row.cause or row.point} is not ported yet")
    if row.verdict is Verdict.VICTIM and row.cause in blamed:
        return Test(name, SKIPPED, row.verdict.value, f"VICTIM of {row.cause}: {row.message}")
    tried = "".join(f"\nwhat to try: {suggestion}" for suggestion in row.suggestions)
    return Test(name, FAILURE, row.verdict.value, row.message + tried)


def _add(suite: ElementTree.Element, classname: str, test: Test) -> None:
    """Add one test to a suite."""
    about = {"classname": legal(classname), "name": legal(test.name)}
    case = ElementTree.SubElement(suite, "testcase", about)
    if test.outcome is not PASS:
        text = legal(test.message)
        first = text.splitlines()[0] if text else test.kind
        told = ElementTree.SubElement(case, test.outcome, {"type": test.kind, "message": first})
        told.text = text


def _totals(tests: Sequence[Test]) -> dict[str, str]:
    """How many tests there are, and how many did not pass."""
    counted = Counter(test.outcome for test in tests)
    return {"tests": str(len(tests)), "failures": str(counted[FAILURE]),
            "errors": str(counted[ERROR]), "skipped": str(counted[SKIPPED])}  # fmt: skip
