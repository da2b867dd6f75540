"""The pytest plugin: one test id per case, dtype, mode and point."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from parity.core.cases import Case
from parity.core.coverage import Coverage, coverages, ledger
from parity.core.errors import ParityError
from parity.core.looked_into import LookedInto
from parity.core.modes import side_by_side
from parity.core.numerics import PRECISIONS
from parity.core.points import LEVELS, Firing, Point
from parity.core.rows import GRAPH, Row, RunResult, Verdict, ran_in
from parity.counting import Counting
from parity.session import Session
from parity.settings import CANDIDATES, REFERENCES, Settings

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--case", {"action": "append", "metavar": "NAME", "help": "only this case (repeatable)"}),
    ("--dtype", {"action": "append", "metavar": "NAME", "help": "only this dtype (repeatable)"}),
    ("--level", {"choices": LEVELS, "help": "block, or module to look inside blocks too"}),
    (
        "--mode",
        {
            "action": "append",
            "metavar": "NAME",
            "help": "pynative, or graph: compiled blocks, inside which nothing is compared "
            "(repeatable)",
        },
    ),
    ("--device", {"help": "device of the candidate: CPU, Ascend:0"}),
    ("--candidate", {"help": f"{', '.join(CANDIDATES)}, or package.module:class"}),
    ("--reference", {"help": f"{', '.join(REFERENCES)}, or package.module:class"}),
    ("--checkpoint", {"type": Path, "help": "Hugging Face checkpoint folder of both sides"}),
    ("--cases-file", {"type": Path, "help": "file that defines the cases"}),
    ("--bundles", {"type": Path, "help": "folder of captured references"}),
    ("--bundle", {"type": Path, "help": "portable bundle (folder or tar file) to run on"}),
    ("--gates", {"type": Path, "help": "folder of the gates files, instead of the measured ones"}),
    ("--overrides", {"type": Path, "help": "file of gates for single points, with reasons"}),
    (
        "--without",
        {
            "action": "append",
            "metavar": "PATTERN",
            "help": "leave these modules out, as if not ported yet (repeatable)",
        },
    ),
    ("--plant", {"metavar": "FAULT", "help": "plant a fault, to see the harness find it"}),
)


REPEATABLE = {"case": "cases", "dtype": "dtypes", "mode": "modes", "without": "without"}
"""Options that are given once for each of several, and the settings that hold them all."""


@dataclass
class State:
    """What the plugin knows during one pytest session, in one process."""

    settings: Settings
    report: Path | None
    """The folder that was asked for; ``None``: among the runs."""
    started: float = field(default_factory=time.monotonic)
    session: Session | None = None
    stages: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """What the selected tests need, by case, dtype and mode."""
    selected: set[tuple[str, str, str, str]] = field(default_factory=set)
    """(case, dtype, mode, point) of every selected test."""
    asked: bool = False
    """Whether parity tests were selected, here or on a worker."""
    told: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Causes outside the selection that one failing victim has told about."""
    not_compared: list[str] = field(default_factory=list)
    """Cases that could not be run, with the reason."""
    rows: list[Row] = field(default_factory=list)
    """Rows of this process, and of the workers once they are done."""
    invalid: list[str] = field(default_factory=list)
    """Proofs of the run itself that failed, here and on the workers."""
    covered: list[Coverage] = field(default_factory=list)
    """What was compared, here and on the workers."""
    looked: LookedInto = field(default_factory=LookedInto)
    counting: Counting = field(default_factory=Counting)
    provenance: dict[str, object] = field(default_factory=dict)
    result: RunResult | None = None
    report_path: Path | None = None
    problem: str | None = None
    """Why the run is not a comparison at all, or could not be reported."""


COULD_NOT_RUN = 2
STATE = pytest.StashKey[State]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of a parity run."""
    group = parser.getgroup("parity", "parity: candidate against reference, layer by layer")
    for name, options in OPTIONS:
        group.addoption(name, default=None, **options)
    group.addoption("--report", type=Path, default=None, metavar="DIR",
                    help="folder of the report (default: a new one in reports/runs, to which "
                    "reports/latest leads)")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Collect the settings, and check them if any was given."""
    config.addinivalue_line(
        "markers", "points(stage, *patterns): the points of a stage that a parity test covers"
    )
    names = [name.removeprefix("--").replace("-", "_") for name, _ in OPTIONS]
    given: dict[str, Any] = {name: config.getoption(name) for name in names}
    for single, several in REPEATABLE.items():
        given[several] = tuple(given.pop(single) or ()) or None
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    if settings.bundle is not None:
        settings = _on_bundle(settings, given["dtypes"])
    state = State(settings, config.getoption("report"))
    config.stash[STATE] = state
    config.pluginmanager.register(state.counting, "parity-counting")
    if settings != Settings():
        _session(state)  # names of nothing are told before anything is collected


def _on_bundle(settings: Settings, dtypes: tuple[str, ...] | None) -> Settings:
    """The settings of a run on a portable bundle.

    Raises:
        pytest.UsageError: it cannot be used.
    """
    from parity.portable_open import on_bundle

    try:
        return on_bundle(settings, dtypes)
    except ParityError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under ``-n``, send all tests of one case, dtype and mode to one worker: it runs once.

    (xdist's own ``loadgroup`` renames tests, which pytest 9.2 does not let it do.)
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    dtypes = "|".join(PRECISIONS)

    class ByCase(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
        def _split_scope(self, nodeid: str) -> str:
            found = re.search(rf"parity/suites/.*\[(.+?-(?:{dtypes})(?:-{GRAPH})?)-", nodeid)
            return found[1] if found else nodeid

    return ByCase(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for ``parity_point`` its cases, dtypes and points."""
    marker = metafunc.definition.get_closest_marker("points")
    if marker is None or "parity_point" not in metafunc.fixturenames:
        return
    state = metafunc.config.stash[STATE]
    session = _session(state)
    stage, *patterns = marker.args
    # A dtype and mode at a time, since changing them loads the candidate anew.
    params = [
        pytest.param((case, dtype, mode, point, stage), id=bracketed(case, dtype, mode, point))
        for dtype in state.settings.dtypes
        for mode in state.settings.modes
        for case in session.cases
        for point in covered(session.schedule(case, [stage], mode), patterns)
    ]
    metafunc.parametrize("parity_point", params, indirect=True)


def bracketed(case: Case, dtype: str, mode: str, point: Point) -> str:
    """The part of a test's name that is in brackets; the usual mode is left out of it."""
    return "-".join([case.name, *ran_in(dtype, mode).split(), point.name])


def covered(schedule: Sequence[Firing], patterns: Sequence[str]) -> list[Point]:
    """The points of ``schedule`` that match one of the regular expressions."""
    found = {firing.point.name: firing.point for firing in schedule}
    return [p for name, p in found.items() if any(re.fullmatch(x, name) for x in patterns)]


def _session(state: State) -> Session:
    """The session, made when the first parity test is collected.

    Raises:
        pytest.UsageError: a setting names something that is not there.
    """
    if state.session is None:
        session = Session(state.settings, prove=True, look_into=True)
        try:
            session.validate()
        except ParityError as error:
            raise pytest.UsageError(str(error)) from error
        state.session = session
    return state.session


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note what the selected tests need, once deselection is done."""
    state = config.stash[STATE]
    empty = [item for item in items if isinstance(item, pytest.Function) and _is_empty(item)]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]
    for item in items:
        if (params := _params(item)) is not None:
            case, dtype, mode, point, stage = params
            state.stages.setdefault((case.name, dtype, mode), {"preprocessing"}).add(stage)
            state.selected.add((case.name, dtype, mode, point.name))


def _is_empty(item: pytest.Function) -> bool:
    """Whether a parity test has no points: nothing of its stage occurs in the selected cases."""
    return "parity_point" in item.fixturenames and not isinstance(_params(item), tuple)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Capture what is missing before the first test, in one process for all cases."""
    from parity.runs import check_place

    state = session.config.stash[STATE]
    if state.session is None or not state.stages or session.config.option.collectonly:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        state.session.say = lambda line: reporter.write_line(f"parity: {line}")
    state.session.selected = state.stages.keys()
    needed = {(case, dtype) for case, dtype, _ in state.stages}
    wanted = [(c, d) for c in state.session.cases for d in state.settings.dtypes
              if (c.name, d) in needed]  # fmt: skip
    try:
        check_place(state.report)
        state.session.references.capture(wanted)
    except ParityError as error:
        state.problem = f"could not run: {error}"
        if not hasattr(session.config, "workeroutput"):
            pytest.exit(f"parity {state.problem}", returncode=COULD_NOT_RUN)


@pytest.fixture
def parity_point(request: pytest.FixtureRequest) -> PointCheck:
    """One point of one case in one dtype and mode; ``check()`` fails unless it passes."""
    return PointCheck(request.config.stash[STATE], *request.param)


@dataclass(frozen=True)
class PointCheck:
    """What a parity test asserts."""

    state: State
    case: Case
    dtype: str
    mode: str
    point: Point
    stage: str

    def rows(self) -> list[Row]:
        """The point's rows in this stage, one a firing; the first call runs the case."""
        session = _session(self.state)
        stages = self.state.stages[(self.case.name, self.dtype, self.mode)]
        if self.state.problem is not None:
            pytest.fail(self.state.problem, pytrace=False)
        try:
            found = session.run(self.case, self.dtype, stages, self.mode)
        except ParityError as error:
            reason = f"{self.case.name} {ran_in(self.dtype, self.mode)} could not run: {error}"
            if reason not in self.state.not_compared:
                self.state.not_compared.append(reason)
            pytest.fail(reason, pytrace=False)
        return [row for row in found if row.point == self.point.name and row.stage == self.stage]

    def check(self) -> None:
        """Fail unless every firing passes; a victim of a failure shown elsewhere is skipped."""
        rows = self.rows()
        if not rows:
            pytest.fail(f"{self.point.name} was not compared", pytrace=False)
        absent = [row for row in rows if row.verdict is Verdict.ABSENT]
        if len(absent) == len(rows):
            pytest.skip(f"ABSENT: {absent[0].cause} is not ported yet")
        bad = [row for row in rows if row.verdict not in (Verdict.PASS, Verdict.ABSENT)]
        blamed = [row for row in bad if row.verdict is not Verdict.VICTIM]
        if blamed:
            pytest.fail(failure(blamed[0], len(rows), len(blamed)), pytrace=False)
        if bad:
            self._victim(bad[0])

    def _victim(self, row: Row) -> None:
        """Skip if the cause has a failing test of its own in this session; else fail once."""
        cause = (self.case.name, self.dtype, self.mode, row.cause or "")
        if cause in self.state.selected or cause in self.state.told:
            pytest.skip(f"VICTIM of {row.cause}")
        self.state.told.add(cause)
        pytest.fail(f"{failure(row, 1, 1)}\nThe guilty point's own test is not selected.",
                    pytrace=False)  # fmt: skip


def failure(row: Row, firings: int, failing: int) -> str:
    """The text of a failing test."""
    often = f" (firing {row.firing}; {failing} of {firings} fail)" if firings > 1 else ""
    return f"{row.verdict.value}: {row.point} in {row.case}, {row.ran_in}{often}\n{row.message}"


def _params(item: pytest.Item) -> Any:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("parity_point") if callspec else None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand rows to the controller, or write the report; a run that compared nothing fails."""
    config = session.config
    state = config.stash[STATE]
    if state.session is not None:
        state.rows += [row for rows in state.session.results.values() for row in rows]
        state.invalid += state.session.invalid
        state.covered += state.session.covered
        state.looked.add(state.session.looked)
    output = getattr(config, "workeroutput", None)
    if output is not None:
        _publish(state, output)
        return
    asked = (state.asked or state.selected) and not config.option.collectonly
    if state.rows:
        _report(state, session)
    elif asked:
        state.problem = state.problem or "parity tests were selected, and nothing was compared"
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if asked and (state.problem or "").startswith("could not run"):
        session.exitstatus = COULD_NOT_RUN


def _publish(state: State, output: dict[str, Any]) -> None:
    """Put a worker's rows where the controller finds them."""
    from parity.provenance import provenance
    from parity.report.rows_io import result_to_dict

    if state.session is None or not state.stages:
        return
    facts = provenance(state.session, time.monotonic() - state.started)
    seen = ledger(state.covered, tests=state.counting.collected)
    result = RunResult(state.rows, facts, state.not_compared, state.invalid, seen)
    state.looked.fill(result)
    output["parity"] = {"result": result_to_dict(result), "problem": state.problem}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the rows of a worker that is done."""
    from parity.provenance import combined
    from parity.report.rows_io import result_from_dict

    published = getattr(node, "workeroutput", {}).get("parity")
    if published:
        state = node.config.stash[STATE]
        result = result_from_dict(published["result"])
        state.rows += result.rows
        state.not_compared += result.not_compared
        state.invalid += result.invalid
        state.covered += coverages(result.ledger)
        state.looked.add(LookedInto(result.details, result.inputs, result.sources))
        state.counting.collected = dict(result.ledger["tests"])  # type: ignore[call-overload]
        state.provenance = combined(state.provenance, result.provenance)
        state.problem = state.problem or published["problem"]
        state.asked = True


def _report(state: State, session: pytest.Session) -> None:
    """Write the report; a report that cannot be written fails the run."""
    from parity.provenance import command, provenance
    from parity.runs import write_run

    seconds = time.monotonic() - state.started
    # Under -n a worker's facts, but for what only this process knows.
    facts = state.provenance | {"command": command(), "seconds": round(seconds, 1)}
    if state.session is not None and state.session.results:
        facts = provenance(state.session, seconds)
    order = {name: n for n, name in enumerate(dict.fromkeys(row.case for row in state.rows))}
    dtypes, modes = state.settings.dtypes.index, state.settings.modes.index
    rows = sorted(side_by_side(state.rows), key=lambda row: (dtypes(row.dtype), modes(row.mode),
                                               order[row.case], row.order))  # fmt: skip
    seen = ledger(state.covered, tests=state.counting.counts)
    state.not_compared += state.counting.left_out
    state.not_compared += [reason for one in state.covered for reason in one.left_out]
    state.result = RunResult(rows, facts, state.not_compared, state.invalid, seen)
    state.looked.fill(state.result)
    try:
        state.report_path = write_run(state.result, state.report, tables=False)
    except ParityError as error:
        state.problem = f"the report could not be written: {error}"
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    if state.result.invalid:
        session.exitstatus = COULD_NOT_RUN
    elif not state.result.passed and session.exitstatus == pytest.ExitCode.OK:
        # Everything selected passed, and something that was compared on the way did not.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdict, the first guilty point and where the report is."""
    state = config.stash[STATE]
    if state.result is None and state.problem is None:
        return
    terminalreporter.section("parity")
    if state.result is not None:
        from parity.report.github import github_lines
        from parity.report.terminal import summary_lines

        for line in summary_lines(state.result, state.report_path):
            terminalreporter.write_line(line)
        for line in github_lines(state.result, os.environ):
            terminalreporter.write_line(line)
    if state.problem is not None:
        terminalreporter.write_line(f"parity: {state.problem}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the verdict in one line, the last of all."""
    from parity.report.terminal import verdict_line

    state = config.stash.get(STATE, None)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if state is not None and state.result is not None and reporter is not None:
        reporter.write_line(verdict_line(state.result, state.report_path))
