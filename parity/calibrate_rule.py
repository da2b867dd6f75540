"""Where a gate lies between what the faithful port shows and what planted faults show.

For one role, scope and figure let ``f`` be the faithful port's largest ratio over all seeds, and
``g`` the smallest ratio of a fault that this figure has to catch. The gate ``k`` is

- the geometric mean of ``f`` and ``g``, which is as far from the one as from the other,
- but at most ``MOST`` times ``f``: far above what is normal, a gate would let through what nobody
  thought of planting,
- and at least ``ROUNDING``, since two roundings instead of one are nobody's fault,
- and in any case at least ``LEAST`` times ``f``, and below ``g``.

A fault has to be caught at its own point by one figure, the one in which it stands out most. A
fault that stands out by less than ``LEAST`` is not visible in the dtype: no gate that lets the
faithful port pass on inputs that are a little different could catch it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from parity.calibration_data import Record, samples
from parity.core.gates_file import FIGURES, SCOPES, Distribution, GatesFile, Margin
from parity.core.stats import Gate
from parity.core.tolerance import Gates
from parity.subjects.roles import ROLES, role

LEAST, MOST, ROUNDING = 1.25, 2.5, 2.0
BARELY = 1e-3
"""Stands for a faithful ratio of 0, which nothing can be a multiple of."""
T = TypeVar("T")
Key = tuple[str, str, str]
"""Scope, role, figure."""


def propose(faithful: float, fault: float = math.inf) -> float:
    """The gate between the largest faithful ratio and the smallest that has to be caught.

    Args:
        faithful: largest ratio of the faithful port.
        fault: smallest ratio to catch, over ``LEAST * faithful``; infinite if there is none.

    Returns:
        As few digits as lie in ``[LEAST * faithful, fault)``, two at least.
    """
    wanted = max(min(math.sqrt(faithful * fault) if faithful else 0.0, MOST * faithful), ROUNDING)
    least = LEAST * faithful
    if wanted >= fault:
        wanted = math.sqrt(least * fault) if least else fault / 2
    wanted = max(wanted, least)
    rounded = (float(f"{wanted:.{digits}g}") for digits in range(2, 18))
    return next(value for value in rounded if least <= value < fault)


@dataclass(frozen=True)
class Planted:
    """What fitting has to know of a fault."""

    point: str
    """Its own."""
    hidden: str = ""
    """Why nobody can see it in this dtype; empty if it has to be seen."""


def fit(
    records: Sequence[Record], faults: Sequence[Record], known: Mapping[str, Planted]
) -> GatesFile:
    """Gates, distributions and margins from measurements in one dtype.

    Args:
        records: of the faithful port.
        faults: of planted faults; one of a role that no faithful run has cannot be judged.
        known: those faults, by name.
    """
    reached = _largest(faults)
    distributions = {
        key: replace(one, fault_largest=reached.get(key, 0.0))
        for key, one in _distributions(records).items()
    }
    largest = {key: one.largest for key, one in distributions.items()}
    own_role = {record.fault: role(known[record.fault or ""].point) for record in faults}
    measured = {name for _, name, _ in largest}
    faults = [one for one in faults if own_role[one.fault] in measured]
    shown = {record.fault or "": _own(record, known, largest) for record in faults}
    caught: dict[Key, float] = {}
    for name, own in shown.items():
        key = max(own, key=lambda key: own[key] / max(largest[key], BARELY))
        if not known[name].hidden and own[key] > LEAST * largest[key]:
            caught[key] = min(own[key], caught.get(key, math.inf))
    gates = {key: propose(f, caught.get(key, math.inf)) for key, f in largest.items()}
    margins = {
        record.fault or "": _margin(record, known, shown[record.fault or ""], gates, largest)
        for record in faults
    }
    return GatesFile({}, _nested(gates), _nested(distributions), margins)


def as_gates(content: GatesFile, source: str) -> Gates:
    """Gates to judge with."""
    return Gates(
        {scope: {name: Gate(**{f: figures.get(f, math.nan) for f in FIGURES})
                 for name, figures in roles.items()}
         for scope, roles in content.gates.items()},
        source=source,
    )  # fmt: skip


def _distributions(records: Sequence[Record]) -> dict[Key, Distribution]:
    """Quantiles of the faithful ratios of each role, scope and figure."""
    ratios: dict[Key, list[float]] = defaultdict(list)
    where: dict[Key, tuple[float, str]] = {}
    for scope, name, figure, ratio, at in samples(records):
        key = (scope, name, figure)
        ratios[key].append(ratio)
        if not ratio <= where.get(key, (-1.0, ""))[0]:
            where[key] = (ratio, at)
    found = {}
    for key in sorted(ratios, key=_order):
        q50, q90, q99 = (float(q) for q in np.quantile(ratios[key], (0.5, 0.9, 0.99)))
        largest, at = where[key]
        found[key] = Distribution(len(ratios[key]), q50, q90, q99, largest, at)
    return found


def _order(key: Key) -> tuple[int, int, int]:
    """As a model meets the roles."""
    scope, name, figure = key
    return SCOPES.index(scope), list(ROLES).index(name), FIGURES.index(figure)


def _largest(faults: Sequence[Record]) -> dict[Key, float]:
    """The largest ratio of any fault, at any point."""
    found: dict[Key, float] = {}
    for scope, name, figure, ratio, _ in samples(faults):
        key = (scope, name, figure)
        found[key] = max(_number(ratio), found.get(key, 0.0))
    return found


def _own(
    record: Record, known: Mapping[str, Planted], largest: Mapping[Key, float]
) -> dict[Key, float]:
    """A fault's ratios at its own point: on clean inputs, or if there are none, end to end.

    A fault without any is infinitely wrong if its point fails otherwise (a shape, no number), and
    else not at all.
    """
    point = known[record.fault or ""].point
    scopes = record.ratios.get(point, {})
    scope = "local" if "local" in scopes else "end_to_end"
    figures = scopes.get(scope, {}).items()
    found = {(scope, role(point), name): max(map(_number, ratios)) for name, ratios in figures}
    found = {key: ratio for key, ratio in found.items() if key in largest}
    fails = any(line.startswith(f"{point}: ") for line in record.wrong)
    any_figure = next(key for key in largest if key[1] == role(point))
    return found or {any_figure: math.inf if fails else 0.0}


def _number(ratio: float) -> float:
    """A ratio; what is not a number is infinitely wrong."""
    return math.inf if math.isnan(ratio) else ratio


def _margin(
    record: Record,
    known: Mapping[str, Planted],
    own: Mapping[Key, float],
    gates: Mapping[Key, float],
    largest: Mapping[Key, float],
) -> Margin:
    """By how much a fault exceeds the gate that it exceeds most.

    Of one that exceeds none, the figure in which it stands out most from the faithful port.
    """
    fault = known[record.fault or ""]
    key = max(own, key=lambda key: own[key] / gates[key])
    seen = own[key] > gates[key]
    if not seen:
        key = max(own, key=lambda key: own[key] / max(largest[key], BARELY))
    scope, name, figure = key
    rounding = (
        f"its ratio is {own[key]:.3g}, and rounding alone takes the port to {largest[key]:.3g}"
    )
    why = "" if seen else fault.hidden or rounding
    return Margin(fault.point, name, record.case, scope, figure, own[key], largest[key],
                  gates[key], seen, why)  # fmt: skip


def _nested(flat: Mapping[Key, T]) -> dict[str, dict[str, dict[str, T]]]:
    """By scope, role and figure, one in the other."""
    found: dict[str, dict[str, dict[str, T]]] = {}
    for (scope, name, figure), value in flat.items():
        found.setdefault(scope, {}).setdefault(name, {})[figure] = value
    return found
