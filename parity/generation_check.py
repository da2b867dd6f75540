"""Greedy generation of the port against the reference's, case by case.

The reference generates once, in a process of its own that may import PyTorch; its tokens, margins
and noise are kept beside the bundles. The port then generates by itself, in this process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.files import file_hash, locked
from parity.core.generation import FORMAT, Generation, RowResult, judge_row
from parity.core.numerics import precision
from parity.core.rows import GRAPH
from parity.core.store import json_hash
from parity.execution import told
from parity.session import Session
from parity.settings import HERE, Settings, load_by_name

GENERATORS = {"mindspore": "parity.adapters.mindspore_generation:MindSporeGenerator"}
REFERENCES = {"transformers": "parity.adapters.torch_generation:capture_generation"}
SOURCES = ("adapters/torch_generation.py", "core/generation.py")
COUNT = 64
DTYPES = ("fp32", "fp16", "bf16")
STRICT = frozenset({"fp32"})
"""Where every token has to be the reference's, however close the next one was."""


@dataclass(frozen=True)
class CaseResult:
    """What became of one case in one dtype: a result for each row of each call."""

    case: str
    dtype: str
    rows: tuple[RowResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is as it should be, and there is one."""
        return bool(self.rows) and all(row.outcome.passed for row in self.rows)


class GenerationCheck:
    """Compares the candidate's greedy generation with the reference's on cases and dtypes."""

    def __init__(
        self,
        settings: Settings,
        count: int = COUNT,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.settings, self.count, self.say = settings, count, say
        self.session = Session(settings, say)
        self._loaded: tuple[str, Any] | None = None

    def validate(self) -> None:
        """Check every setting that can be checked without running anything.

        Raises:
            ParityError: one names something that is not there.
        """
        if self.count < 1:
            raise ParityError(f"{self.count} tokens cannot be compared; ask for at least 1")
        self.session.validate(judging=False)

    def run(self, case: Case, dtype: str) -> CaseResult:
        """Compare one case in one dtype.

        Raises:
            ParityError: the reference or the candidate cannot be run.
        """
        from parity.faults import planted

        reference = self.reference(case, dtype)
        with planted(self.settings.plant):
            try:
                free, forced = self._candidate_tokens(case, dtype, reference)
            except ParityError:
                raise
            except Exception as error:
                raise ParityError(
                    f"the candidate cannot generate on {case.name} in {dtype}: {told(error)}"
                ) from error
        given = reference.tokens if forced is None else forced
        rows = zip(reference.rows, free, given, strict=True)
        strict = dtype in STRICT
        return CaseResult(case.name, dtype, tuple(judge_row(*row, strict=strict) for row in rows))

    def _candidate_tokens(
        self, case: Case, dtype: str, reference: Generation
    ) -> tuple[list[list[int]], list[list[int]] | None]:
        """Its own tokens, and where they differ its choices given the reference's."""
        candidate, given = self.candidate(dtype), iter(reference.tokens)
        inputs = [candidate.preprocess(call) for call in case.calls]
        free = [row for one in inputs for row in candidate.free(one, self.count)]
        if free == reference.tokens:
            return free, None
        own = [[next(given) for _ in one["input_ids"]] for one in inputs]
        pairs = zip(inputs, own, strict=True)
        return free, [row for one, rows in pairs for row in candidate.forced(one, rows)]

    def candidate(self, dtype: str) -> Any:
        """The candidate in ``dtype``; one is kept.

        Raises:
            ParityError: it cannot be loaded.
        """
        if self._loaded is None or self._loaded[0] != dtype:
            settings = self.settings
            kind = load_by_name(settings.candidate, GENERATORS, "candidate")
            self._loaded = None
            self._loaded = (
                dtype,
                kind(
                    settings.checkpoint,
                    precision(dtype),
                    settings.device,
                    jit=settings.mode == GRAPH,
                ),
            )
        return self._loaded[1]

    def reference(self, case: Case, dtype: str) -> Generation:
        """The reference's generation, captured first if there is none that fits.

        Raises:
            ParityError: there is none and it cannot be captured here.
            BundleError: the one there is damaged.
        """
        path = self.path(case, dtype)
        if not path.exists():
            self.capture([(case, dtype)])
        found = Generation.read(path)
        if found.key != self.key(case, dtype):
            raise ParityError(f"{path} is not what its name says; delete it and run again")
        return found

    def capture(self, wanted: Sequence[tuple[Case, str]]) -> None:
        """Capture what is missing of ``wanted``, in a process of its own that may import PyTorch.

        Raises:
            ParityError: the reference cannot be run here.
        """
        missing = [pair for pair in wanted if not self.path(*pair).exists()]
        if not missing:
            return
        names = list(dict.fromkeys(case.name for case, _ in missing))
        self.say(
            f"generating {self.count} tokens with the reference for {', '.join(names)} (once; "
            f"kept in {self.settings.bundles})"
        )
        self._start(names, list(dict.fromkeys(precision(dtype).reference for _, dtype in missing)))

    def _start(self, names: Sequence[str], dtypes: Sequence[str]) -> None:
        """Run the capturing process on every one of ``names`` in every one of ``dtypes``."""
        command = [sys.executable, "-m", "parity.generation", *self._options(names, dtypes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            reason = next((ln for ln in reversed(lines) if ln.startswith("error:")), None)
            raise ParityError(
                "the reference could not generate: "
                + (reason.removeprefix("error:").strip() if reason else "\n".join(lines[-5:]))
            )

    def _options(self, names: Sequence[str], dtypes: Sequence[str]) -> list[str]:
        settings = self.settings
        options = ["--checkpoint", str(settings.checkpoint), "--bundles", str(settings.bundles)]
        options += ["--cases-file", str(settings.cases_file), "--count", str(self.count)]
        for name in names:
            options += ["--case", name]
        for dtype in dtypes:
            options += ["--dtype", dtype]
        return options

    def path(self, case: Case, dtype: str) -> Path:
        """The file of exactly this generation."""
        name = f"{case.name}-{precision(dtype).reference}-generation"
        return self.settings.bundles / f"{name}-{json_hash(self.key(case, dtype))[:16]}.json"

    def key(self, case: Case, dtype: str) -> dict[str, object]:
        """Everything the reference's tokens and numbers depend on."""
        shared = self.session.references.key(case, dtype)
        own = {
            "format": FORMAT,
            "count": self.count,
            "generation": json_hash([file_hash(HERE / name) for name in SOURCES]),
        }
        return {**shared, **own}


def capture_generations(settings: Settings, count: int) -> None:
    """Generate with the reference for every selected case and dtype that has no file yet.

    Raises:
        ParityError: the reference cannot be run here.
    """
    check = GenerationCheck(settings, count)
    check.validate()
    run_reference = load_by_name("transformers", REFERENCES, "reference")
    for case in check.session.cases:
        for dtype in settings.dtypes:
            path = check.path(case, dtype)
            with locked(path):
                if not path.exists():
                    found = run_reference(
                        case, settings.checkpoint, precision(dtype), count, check.key(case, dtype)
                    )
                    found.write(path)
