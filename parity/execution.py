"""The candidate in one mode: loaded in a dtype, run freely, and run on the reference's inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parity.core.cases import Case
from parity.core.death import BARE, FORCED, FREE, LOADING
from parity.core.errors import ParityError, describe_exception
from parity.core.holes import check_holes, matching, replaceable
from parity.core.numerics import precision
from parity.core.points import STAGES, Firing, Point
from parity.core.rows import GRAPH
from parity.core.store import Bundle
from parity.core.trace import Trace
from parity.core.verdict import Evidence
from parity.device.chips import lacking
from parity.device.choice import chip_in_use, select_device
from parity.numerics_models import imitated
from parity.settings import CANDIDATES, Settings, load_by_name
from parity.subjects import qwen2vl


@dataclass
class Execution:
    """Loads the candidate when it is first needed, and runs it in ``mode``."""

    settings: Settings
    mode: str
    declared: list[Point]
    """Every point at module level."""
    loaded: dict[tuple[str, str], Any] = field(repr=False)
    """The candidate that is loaded, by dtype and mode. All modes share it and it holds at most
    one, since a case needs only one at a time."""
    doing: Callable[[str], None] = lambda step: None
    """Called with what is about to be done with the candidate."""

    @cached_property
    def points(self) -> list[Point]:
        """The points of the level that is seen in this mode."""
        depths = qwen2vl.read_depths(self.settings.checkpoint)
        return qwen2vl.points(depths, self.settings.level_in(self.mode))

    def schedule(self, case: Case, stages: Collection[str] = STAGES) -> list[Firing]:
        """The firings of ``case`` in ``stages``, in execution order."""
        return [f for f in qwen2vl.schedule(self.points, case) if f.stage in stages]

    @cached_property
    def replaceable(self) -> dict[str, list[Point]]:
        """The modules that the reference's values can stand in for, with their results.

        In graph mode nothing inside a block is called, so nothing there can be replaced.
        """
        return replaceable(self.points if self.mode == GRAPH else self.declared)

    def candidate(self, dtype: str) -> Any:
        """The candidate in ``dtype``, in this mode.

        Raises:
            ParityError: it cannot be loaded.
        """
        key = (dtype, self.mode)
        if key not in self.loaded:
            self.loaded.clear()  # before the next one is loaded: both may not fit into memory
            self.loaded[key] = self._load(dtype)
        return self.loaded[key]

    def _load(self, dtype: str) -> Any:
        settings = self.settings
        self.doing(LOADING)
        kind = load_by_name(settings.candidate, CANDIDATES, "candidate")
        compiled = self.mode == GRAPH
        select_device(kind, settings)
        try:
            with imitated(settings.numerics, dtype):
                found = kind(settings.checkpoint, precision(dtype), settings.device, jit=compiled)
        except ParityError:
            raise
        except Exception as error:
            raise ParityError(f"the candidate cannot be loaded: {told(error)}") from error
        if settings.without:
            found.leave_out(matching(settings.without, self.replaceable))
        return found

    def lacks(self, dtype: str) -> str | None:
        """Why the device cannot compute in ``dtype``; ``None`` if it can, or nobody knows.

        Raises:
            ParityError: the device is not there.
        """
        return lacking(chip_in_use(self.settings), dtype)

    def holes(self, dtype: str) -> tuple[str, ...]:
        """The modules that the candidate does not have yet, and that are left out on purpose.

        Raises:
            ParityError: the reference's values cannot stand in for one.
        """
        return check_holes(self.candidate(dtype).holes(), self.replaceable)

    def free(
        self,
        case: Case,
        dtype: str,
        bundle: Bundle,
        stages: Collection[str],
        points: Sequence[Point],
    ) -> Trace:
        """The candidate as its user runs it, preprocessing included, recording ``points``."""
        candidate, trace = self.candidate(dtype), Trace()
        self.doing(FREE if points else BARE)
        with self._standing_in(dtype, bundle), imitated(self.settings.numerics, dtype):
            for call, tokens in zip(case.calls, bundle.tokens, strict=True):
                # What goes wrong here is a finding about the candidate, not the end of the run.
                try:
                    inputs = candidate.preprocess(call)
                except Exception as error:
                    trace.stopped = describe_exception(error)
                    return trace
                trace.extend(candidate.free(inputs, tokens, points, stages, chunks=case.chunks))
                if trace.stopped:
                    return trace
        return trace

    def forced(
        self, dtype: str, bundle: Bundle, stages: Collection[str], points: Sequence[Point]
    ) -> Trace:
        """The candidate with every module of ``points`` on the reference's inputs."""
        self.doing(FORCED)
        with self._standing_in(dtype, bundle), imitated(self.settings.numerics, dtype):
            trace: Trace = self.candidate(dtype).forced(bundle, points, stages)
        return trace

    def as_blocks(self, evidence: Evidence, stages: Collection[str]) -> Evidence:
        """``evidence`` with blocks forced as a whole, as a compiled block is, none looked into."""
        if evidence.level == "block":
            return evidence
        blocks = [point for point in self.points if point.level == "block"]
        forced = self.forced(evidence.precision.name, evidence.bundle, stages, blocks)
        return replace(evidence, level="block", forced=forced)

    def _standing_in(self, dtype: str, bundle: Bundle) -> AbstractContextManager[None]:
        """Let the reference's values stand in for what the candidate does not have."""
        results = {path: self.replaceable[path] for path in self.holes(dtype)}
        if not results:
            return nullcontext()
        standing_in: AbstractContextManager[None] = self.candidate(dtype).standing_in(
            results, bundle
        )
        return standing_in


def told(error: Exception) -> str:
    """The message of an error that the port means for its user; any other with its place."""
    return str(error) if type(error).__name__ == "Qwen2VLError" else describe_exception(error)
