"""What is known about one row beyond its figures: where its error is, and what was tried."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL, END_TO_END = "local", "end to end"
PATCHES, MERGED, TOKENS = "patches", "merged", "tokens"
RATIO, SHARE = "ratio", "share"


@dataclass(frozen=True)
class Histogram:
    """How many values are how far from the truth, on each side."""

    unit: str
    """What errors are measured in: ``ULP of bf16``, say."""
    first: int
    """The lowest bin holds errors from ``2 ** first`` units; each one doubles."""
    candidate: tuple[int, ...]
    """Values a bin; the lowest holds smaller errors too, the highest larger ones."""
    reference: tuple[int, ...]
    candidate_exact: int
    """Values without any error, which no bin holds."""
    reference_exact: int
    candidate_nonfinite: int
    """Values whose error is no number, which no bin holds."""
    reference_nonfinite: int


@dataclass(frozen=True)
class Profile:
    """The ratio of every token, or of every channel, neighbours brought together."""

    axis: str
    """``token`` or ``channel``."""
    count: int
    """Tokens or channels."""
    width: int
    """Of them in a bin; the last bin may have fewer."""
    ratios: tuple[float | None, ...]
    """The largest ratio in each bin; ``None`` where all of it is padding."""
    worst: int
    """The token or channel with the largest ratio."""
    gate: float


@dataclass(frozen=True)
class Cells:
    """One number a token, in the model's order, to be drawn where the token is."""

    layout: str
    """``patches`` (windows of merged patches one after another), ``merged`` or ``tokens``."""
    measure: str
    """``ratio``, or ``share`` of the values that differ."""
    gate: float
    """Largest that passes."""
    values: tuple[float | None, ...]
    """``None`` for padding."""
    start: int = 0
    """Place of the first one in the prompt, which may be fed in parts, or after it."""
    rows: int = 1
    """Batch rows, one after another."""
    call: int = 0
    """Which call of the model."""
    firing: int = 0
    """Which firing of the vision tower, for patches and merged ones."""


@dataclass(frozen=True)
class Side:
    """One execution of the candidate: on clean inputs, or as its user runs it."""

    scope: str
    """``local`` or ``end to end``."""
    where: str = ""
    """The module inside at whose input the value arrived; empty for the point's own value."""
    histogram: Histogram | None = None
    tokens: Profile | None = None
    channels: Profile | None = None
    cells: Cells | None = None


@dataclass(frozen=True)
class Ids:
    """Position ids of both sides where they differ."""

    axes: tuple[str, ...]
    """What each grid counts: ``t``, ``h``, ``w``."""
    reference: tuple[tuple[int, ...], ...]
    """A grid an axis: one id a token, batch rows one after another."""
    candidate: tuple[tuple[int, ...], ...]
    layout: str
    rows: int = 1
    start: int = 0
    call: int = 0
    firing: int = 0


@dataclass(frozen=True)
class Tried:
    """A hypothesis that was tried on the point's own inputs."""

    name: str
    sentence: str
    """What it supposes, or, if it fits, how well."""
    fits: bool


@dataclass(frozen=True)
class Detail:
    """One row looked into; ``case``, ``dtype``, ``mode``, ``point`` and ``firing`` name the row."""

    case: str
    dtype: str
    mode: str
    point: str
    firing: int
    role: str
    """Kind of module, as gates and the operator ledger name it."""
    command: str | None = None
    """What shows this module's failure by itself; ``None`` for what cannot stand alone."""
    sides: tuple[Side, ...] = ()
    ids: Ids | None = None
    reference_text: str | None = None
    """A few integers in full, where they differ."""
    candidate_text: str | None = None
    tried: tuple[Tried, ...] = ()
