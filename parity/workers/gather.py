"""Running all units of a run in workers, those apart that an earlier process has finished."""

from __future__ import annotations

from contextlib import closing

from parity.core.death import Death
from parity.core.errors import ParityError
from parity.session import Session
from parity.workers.finish import finish
from parity.workers.gathered import Gathered
from parity.workers.in_progress import InProgress
from parity.workers.orders import Orders, units_of
from parity.workers.parts import part_path, read_part
from parity.workers.process import Look
from parity.workers.progress import RunProgress


def gather(
    session: Session, run: InProgress, progress: RunProgress, limit: float | None
) -> Gathered:
    """Finish the run; the session then knows what its units' sessions found out.

    Args:
        session: of the run's settings, its references captured.
        run: where finished parts are kept; those that are there already are taken over.
        progress: shows it.
        limit: seconds that a unit may take; ``None``: for ever.

    Raises:
        ParityError: the candidate cannot be run here.
    """
    units = units_of([case.name for case in session.cases], session.settings)
    found = Gathered(session, units)
    _take_finished(found, run, progress)
    todo = tuple(number for number in range(len(units)) if number not in found.parts)
    progress.begin(units, len(found.parts))
    orders = Orders(session.settings, units, todo, run.folder, run.run)
    # Whatever interrupts this, the worker has ended before anything else is tidied up.
    with closing(finish(orders, limit, progress.log)) as every:
        for news in every:
            _take(news, found, run, progress)
    found.into_session()
    return found


def _take(
    news: Look | tuple[int, Death], found: Gathered, run: InProgress, progress: RunProgress
) -> None:
    """Take note of what a worker was seen at, and take over what it has finished."""
    if not isinstance(news, Look):
        number, found.deaths[number] = news
        progress.done(number, found.deaths[number])
        return
    if news.done is not None:
        unit = found.units[news.done]
        found.parts[news.done] = read_part(run.folder, news.done, unit, run.run)
        progress.done(news.done)
    progress.see(news.where)


def _take_finished(found: Gathered, run: InProgress, progress: RunProgress) -> None:
    """Take over the parts that are there and whole."""
    for number, unit in enumerate(found.units):
        if not part_path(run.folder, number).exists():
            continue
        try:
            found.parts[number] = read_part(run.folder, number, unit, run.run)
            found.resumed.append(number)
        except ParityError as error:
            found.damaged.append(f"{unit.name}: {error}")
            progress.log(f"run again: {unit.name}: {error}")
    if found.resumed:
        first = min(found.parts[number].facts.when for number in found.resumed)
        progress.log(f"resumed: {len(found.resumed)} of {len(found.units)} parts, from {first} on")
