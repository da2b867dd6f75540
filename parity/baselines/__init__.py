"""Other ways of comparing two models, each in a few lines with its source.

The self-test plants the same faults under their eyes. They see the free run, as tools that dump
and compare do: the reference's recorded values beside the candidate's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parity.baselines import closeness, cosine, mindone, msprobe
from parity.baselines.seen import Seen


@dataclass(frozen=True)
class Baseline:
    """One method."""

    name: str
    about: str
    """In a table's cell."""
    blamed: Callable[[Seen], list[str]]
    """The points that it blames, the first one being where it says to look."""


BASELINES = (
    Baseline("cosine", "cosine of every tensor over 0.99", cosine.blamed),
    Baseline("mindone", "MindONE's test: last hidden state of 7 text tokens within 5e-2",
             mindone.blamed),
    Baseline("assert_close", "torch.testing.assert_close, its own tolerances, first that fails",
             closeness.blamed),
    Baseline("msprobe", "msprobe 26.2 compare: its errors and warnings", msprobe.blamed),
    Baseline("msprobe-first", "msprobe 26.2 first difference: a statistic off by half",
             msprobe.first_difference),
)  # fmt: skip
