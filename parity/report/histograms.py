"""How large errors are, the candidate's beside the reference's own: bars as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from parity.core.detail import Histogram
from parity.report.text import number, plural

HEIGHT = 60
"""Of the plot, in its own units; a bin is 10 wide."""


@dataclass(frozen=True)
class Bin:
    """A bin in words, for the table under the plot."""

    label: str
    candidate: int
    reference: int


@dataclass(frozen=True)
class HistogramView:
    """Both distributions."""

    sentence: str
    unit: str
    width: int
    height: int
    candidate: str
    """Path of the candidate's bars."""
    reference: str
    """Path of the reference's outline."""
    bins: tuple[Bin, ...]
    ticks: tuple[tuple[int, str], ...]
    """Where bins begin, and their label."""


def histogram_view(found: Histogram | None) -> HistogramView | None:
    """Draw a histogram; ``None`` if there is none or it holds nothing."""
    if found is None or len(found.candidate) != len(found.reference):
        return None
    filled = [n for n, both in enumerate(zip(found.candidate, found.reference, strict=True))
              if any(both)]  # fmt: skip
    if not filled:
        return None
    first, last = filled[0], filled[-1] + 1
    candidate, reference = found.candidate[first:last], found.reference[first:last]
    most = max(1, *candidate, *reference)
    start = found.first + first
    labels = [_edge(start + place) for place in range(len(candidate) + 1)]
    return HistogramView(
        _sentence(found),
        found.unit,
        10 * len(candidate),
        HEIGHT,
        "".join(_bar(place, count, most) for place, count in enumerate(candidate)),
        _outline(reference, most),
        tuple(
            Bin(f"{labels[n]} to {labels[n + 1]}", *both)
            for n, both in enumerate(zip(candidate, reference, strict=True))
        ),
        tuple((10 * n, labels[n]) for n in range(0, len(labels), max(1, len(labels) // 6))),
    )


def _edge(exponent: int) -> str:
    """Write a power of two."""
    return number(2.0**exponent) if abs(exponent) < 1000 else f"2^{exponent}"


def _bar(place: int, count: int, most: int) -> str:
    """Return a bar; a count of one is still seen."""
    height = _height(count, most)
    return f"M{10 * place + 1} {HEIGHT}v-{height}h8v{height}z" if count else ""


def _outline(counts: Sequence[int], most: int) -> str:
    """Return the tops of bars as one line."""
    steps = "".join(f"V{HEIGHT - _height(count, most)}h10" for count in counts)
    return f"M0 {HEIGHT}{steps}V{HEIGHT}"


def _height(count: int, most: int) -> int:
    """Return the height of a count on a log scale, the largest count being all of it."""
    return round(HEIGHT * log10(1 + count) / log10(1 + most)) if count > 0 else 0


def _sentence(found: Histogram) -> str:
    """Say how far off the middle value of each side is."""
    ours = _median(found.candidate, found.candidate_exact, found.first)
    theirs = _median(found.reference, found.reference_exact, found.first)
    text = f"Half of the candidate's values are {ours}; of the reference's, {theirs}."
    if found.candidate_nonfinite:
        text += f" {plural(found.candidate_nonfinite, 'error')} of the candidate: no number."
    return text


def _median(counts: Sequence[int], exact: int, first: int) -> str:
    """Say where half of the values are."""
    total = exact + sum(counts)
    if not total:
        return "no numbers"
    seen = exact
    if 2 * seen >= total:
        return "exact"
    for place, count in enumerate(counts):
        seen += count
        if 2 * seen >= total:
            edge = _edge(first + place + 1)
            last = place == len(counts) - 1
            return f"off by {_edge(first + place)} ULP or more" if last else f"within {edge} ULP"
    return "no numbers"
