"""The pytest plugin: one test id per case, dtype, mode and point."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest

from parity.core.cases import Case
from parity.core.coverage import coverages, ledger
from parity.core.errors import ParityError
from parity.core.looked_into import LookedInto
from parity.core.modes import side_by_side
from parity.core.numerics import PRECISIONS
from parity.core.points import Firing, Point
from parity.core.rows import GRAPH, RunResult, ran_in
from parity.plugin_options import add_options, settings_of
from parity.plugin_state import COULD_NOT_RUN, STATE, State, session_of
from parity.point_check import PointCheck
from parity.settings import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of a parity run."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Collect the settings, and check them if any was given."""
    config.addinivalue_line(
        "markers", "points(stage, *patterns): the points of a stage that a parity test covers"
    )
    settings = settings_of(config)
    state = State(settings, config.getoption("report"))
    config.stash[STATE] = state
    config.pluginmanager.register(state.counting, "parity-counting")
    if settings != Settings():
        session_of(state)  # names of nothing are told before anything is collected


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
    session = session_of(state)
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
