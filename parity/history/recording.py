"""After a run: its rows go into the history, and whatever goes wrong there costs no report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.history.place import history_url
from parity.history.record import record_of

_PLANTED, _IMITATED, _WHOLE = "planted fault", "numerics model", "none"


def remember(
    result: RunResult, given: str | None, without: Sequence[str], say: Callable[[str], object]
) -> None:
    """Append a run to the history, if it is one that others may be compared with.

    What is not recorded, and why, is said in one line; it changes nothing else.

    Args:
        result: The run, whose report has been written.
        given: What ``--history`` says; ``none`` for ``--no-history``.
        without: Modules that the run was asked to leave out.
        say: Takes a line.
    """
    url = history_url(given)
    if url is None:
        return
    if (reason := unfit(result, without, named=given is not None)) is not None:
        say(f"history: not recorded, {reason}")
        return
    try:
        from parity.history.database import History

        record = record_of(result)
        added = History(url).append(record)
        say(f"history: {'recorded as' if added else 'already holds'} {record.digest[:12]}")
    except ParityError as error:
        say(f"history: not recorded: {error}")
    except ImportError as error:
        say(f"history: not recorded, a package is missing ({error}); the report is complete")


def unfit(result: RunResult, without: Sequence[str], *, named: bool) -> str | None:
    """Why a run should not be held against others; ``None`` if it may be.

    A planted fault, or a device that was imitated, is recorded only in a history that was named for
    it on the command line.
    """
    if result.invalid:
        return "since a proof of the run itself failed"
    if without:
        return f"since {without[0]!r} was left out"
    if not result.rows:
        return "since nothing was compared"
    planted = str(result.provenance.get(_PLANTED, _WHOLE))
    if planted != _WHOLE and not named:
        return f"since {planted!r} was planted; --history FILE would record it there"
    imitated = str(result.provenance.get(_IMITATED, _WHOLE))
    if imitated != _WHOLE and not named:
        return f"since {imitated!r} was imitated; --history FILE would record it there"
    return None
