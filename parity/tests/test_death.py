"""How a candidate's end is told: in words, at which line, and in the rows of its case."""

import pytest

from parity.core.death import BARE, COMPARING, FORCED, FREE, Death, coverage_of, rows_of
from parity.core.rows import RunResult, Verdict
from parity.tests.toy_model import GRID, KEYS, MODEL, SCHEDULE, write
from parity.workers.last_words import place_in, words_for

CRASH = """\
a warning of a framework
Fatal Python error: Segmentation fault

Current thread 0x00007f1f26dbcff0 (most recent call first):
  File "/venv/lib/python3.11/site-packages/mindspore/nn/cell.py", line 1400 in __call__
  File "/home/me/port/attention.py", line 88 in construct
  File "/home/me/port/model.py", line 12 in construct
""".splitlines()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


def rows(bundle, *death):
    return rows_of(SCHEDULE, bundle, "toy", "fp32", "pynative", Death("was killed", *death))


@pytest.mark.parametrize(
    ("status", "ran_out", "words"),
    [
        (0, False, "ended with exit status 0"),
        (3, True, "ended with exit status 3"),
        (-11, True, "was killed by SIGSEGV"),
        (-9, False, "was killed by SIGKILL, as the system does when memory runs out"),
        (-9, True, "ran out of memory: the system killed it (SIGKILL)"),
    ],
)
def test_an_end_in_words(status, ran_out, words):
    assert words_for(status, ran_out) == words


def test_the_innermost_line_that_is_somebodys_own_is_named():
    assert place_in(CRASH) == ", at attention.py:88 in construct"
    assert place_in(CRASH[:5]) == ", at cell.py:1400 in __call__"
    assert place_in(CRASH[:3]) == ""


def test_of_two_tracebacks_the_last_counts():
    later = ["Stack (most recent call first):", '  File "/home/me/late.py", line 3 in wait']
    assert place_in([*CRASH, *later]) == ", at late.py:3 in wait"


@pytest.mark.parametrize(
    ("death", "guilty"),
    [
        ((FREE, ""), KEYS[0]),
        ((BARE, GRID), KEYS[1]),
        ((FORCED, ""), (MODEL[0].name, 0)),
        ((FORCED, "blocks.0.norm"), ("blocks.0.attn.qkv", 0)),
        ((FORCED, "blocks.0.norm", 1), ("blocks.0.attn.qkv", 1)),
        ((FREE, *KEYS[-1]), KEYS[-1]),
        ((COMPARING, ""), KEYS[-1]),
    ],
)
def test_the_point_after_the_last_one_reached_is_at_fault(bundle, death, guilty):
    found = rows(bundle, *death)
    assert [(row.point, row.firing) for row in found] == KEYS
    (one,) = (row for row in found if row.verdict is Verdict.MISSING)
    assert (one.point, one.firing) == guilty
    assert one.message.startswith(f"the candidate was killed, in the {death[0]}, ")
    assert {row.cause for row in found if row is not one} == {one.point}
    assert {row.verdict for row in found if row is not one} == {Verdict.VICTIM}
    result = RunResult(found)
    assert not result.passed
    assert result.first_failure is one


def test_nothing_of_it_counts_as_compared(bundle):
    found = coverage_of(SCHEDULE, bundle, "toy", "fp32", "graph")
    assert (found.declared, found.reference) == (len(SCHEDULE), len(SCHEDULE))
    assert (found.free, found.forced, found.mode) == (0, 0, "graph")
    assert found.forced_declared == sum(firing.point.module is not None for firing in SCHEDULE)
