"""Where a model is looked at: the declared points, by canonical name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from parity.core.errors import ParityError
from parity.core.rows import Kind

STAGES = ("preprocessing", "positions", "vision", "text", "decoding")
LEVELS = ("block", "module")


@dataclass(frozen=True)
class Point:
    """One named value of a model.

    ``module`` is the canonical path of the module it belongs to, and ``port`` says which of
    the module's values it is: ``output``, ``output.0`` (an element of a tuple) or
    ``input.NAME``. A point without a module comes from the processor.
    """

    name: str
    stage: str
    kind: Kind
    module: str | None = None
    port: str = "output"
    level: str = "block"
    """``block`` points are always taken; ``module`` points only at module level."""
    forced: tuple[str, ...] = ()
    """Arguments that the forced run replaces by the reference's."""
    base: str | None = None
    """Point that this residual block adds an update to, so that the update is judged too."""
    tokens: bool = False
    """Leading axes are (batch, sequence): padding tokens are left out of the comparison."""
    depends: tuple[str, ...] = ()
    """For points that have no clean inputs of their own: a failure of one of these explains it."""
    role: str = "other"
    """Kind of module, which gates are measured for: ``rms_norm``, ``text_mlp``."""

    @property
    def member(self) -> int:
        """Which element of its module's results it is."""
        return int(self.port.partition(".")[2] or 0)

    @property
    def is_input(self) -> bool:
        """Whether the point is an argument of its module rather than a result."""
        return self.port.startswith("input.")

    @property
    def argument(self) -> str:
        """Name of the argument an input point is."""
        return self.port.removeprefix("input.")


@dataclass(frozen=True)
class Firing:
    """A point's ``index``-th occurrence in a case, counted from 0."""

    point: Point
    index: int
    step: int = 0
    """Decoding step in which it happens, 0 the prompt. A prompt that is fed in parts, or a second
    prompt, is no decoding step, however often the point has occurred before."""

    @property
    def stage(self) -> str:
        """The point's stage, or ``decoding`` for what happens after a prompt."""
        decoding = self.step > 0 and self.point.stage in ("text", "positions")
        return "decoding" if decoding else self.point.stage


def select(points: Sequence[Point], patterns: Iterable[str]) -> list[Point]:
    """Points whose names match any of the shell-style ``patterns``, in declared order.

    Raises:
        ParityError: a pattern matches no declared point.
    """
    wanted = list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(point.name, pattern) for point in points):
            raise ParityError(
                f"no point is named {pattern!r}; `python -m parity points` lists the "
                f"{len(points)} declared ones (wildcards: * and ?)"
            )
    return [p for p in points if not wanted or any(fnmatchcase(p.name, w) for w in wanted)]
